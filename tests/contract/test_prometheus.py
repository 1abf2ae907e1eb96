"""What a real Prometheus makes of metrics, alerts and dashboards. Needs Debian's package `prometheus`."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from controller.cli import main
from controller.client import ControllerClient
from tests.fakes.dry_server import dry_server
from tests.fakes.prometheus import DOCKER, Prometheus, panels, prometheus
from twin.scenario_file import dump_scenario, load_scenario

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Debian's package prometheus (make test)"),
]
TOKEN = "s3cret"
PROBES_ONLY = {"Probes lost by chain", "Silence, median", "A move by its mode"}  # a dry run sends no probes


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A dry run of `small`, at one decision a second, with a twin that has learned at least something."""
    folder = tmp_path_factory.mktemp("run")
    scenario, journal, twin = (str(folder / name) for name in ("small.yaml", "journal.db", "twin.safetensors"))
    Path(scenario).write_text(dump_scenario(replace(load_scenario("small"), period_s=1.0)))
    played = ["--policy", "random", "--duration", "80", "--journal", journal]
    assert main(["run", scenario, "--dry-run", *played]) == 0
    assert main(["twin", "fit", journal, "-o", twin, "--steps", "4"]) == 0
    with dry_server(scenario, "--policy", "greedy", "--twin", twin, token=TOKEN) as address:
        yield address


@pytest.fixture(scope="module")
def server(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus, which has seen the controller before and after a move."""
    with prometheus(url.removeprefix("http://"), tmp_path_factory.mktemp("prometheus"), token=TOKEN) as running:
        assert running.wait_for("vnftwin_ready == 1", timeout_s=60)
        _move(ControllerClient(url, token=TOKEN))
        assert running.wait_for("rate(vnftwin_migration_step_seconds_count[1m]) > 0", timeout_s=30)
        yield running


def _move(client: ControllerClient) -> None:
    """Moves some VNF to wherever it may, with the policy looking on."""
    client.set_mode("manual")
    for vnf, host in client.get("state")["placement"].items():
        for server in client.get("servers"):
            if server["id"] != host and client.what_if(vnf, server["id"])["allowed"]:
                assert client.wait_migration(client.move(vnf, server["id"])["id"], timeout_s=30)["status"] == "done"
                client.set_mode("auto")
                return


def _dashboards() -> list[Any]:
    return [json.loads(file.read_text()) for file in sorted((DOCKER / "grafana" / "dashboards").glob("*.json"))]


def test_metrics_obey_the_naming_rules(url: str) -> None:
    text = requests.get(f"{url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10).content
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    "arguments", ["check config prometheus.yml", "check rules alerts.yml", "test rules alerts_test.yml"]
)  # fmt: skip
def test_configuration_and_alerts(arguments: str) -> None:
    done = subprocess.run(
        ["promtool", *arguments.split()], cwd=DOCKER / "prometheus", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested() -> None:
    rules = yaml.safe_load((DOCKER / "prometheus" / "alerts.yml").read_text())["groups"][0]["rules"]
    tests = (DOCKER / "prometheus" / "alerts_test.yml").read_text()
    assert {rule["alert"] for rule in rules} == set(re.findall(r'alertname[:=] ?"?(\w+)', tests))


def test_every_panel_has_data_from_a_dry_run(server: Prometheus) -> None:
    assert server.still_empty(PROBES_ONLY, timeout_s=90) == set()


def test_no_alert_fires_while_all_is_well(server: Prometheus) -> None:
    assert server.query('ALERTS{alertstate="firing"}') == []


def test_a_scrape_is_bounded(server: Prometheus) -> None:
    (series,) = server.query('scrape_samples_scraped{job="vnftwin"}')
    assert 300 < float(series["value"][1]) < 800


def test_panels_use_metrics_that_there_are() -> None:
    documented = set(re.findall(r"^\| `(\w+)`", (DOCKER.parent / "docs" / "metrics.md").read_text(), re.M))
    used = {re.sub(r"_bucket$", "", name) for p in panels() for name in re.findall(r"vnftwin_\w+", p.expr)}
    assert used <= documented


@pytest.mark.parametrize("board", _dashboards(), ids=lambda board: board["uid"])
def test_a_dashboard_is_sound(board: Any) -> None:
    shown = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    assert all(panel["description"] and panel["title"] for panel in shown)
    cells = [
        (x, y)
        for panel in board["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)  # no panel covers another
    assert max(x for x, _ in cells) < 24


def test_what_compose_mounts_is_there_and_images_are_pinned() -> None:
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    for service in services.values():
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])
        for volume in service["volumes"]:
            if volume.startswith("./"):
                assert (DOCKER / volume.split(":")[0]).is_dir(), volume
    (source,) = yaml.safe_load((DOCKER / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"]
    for board in _dashboards():
        assert board["templating"]["list"][0]["current"]["value"] == source["uid"]
