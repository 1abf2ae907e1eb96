"""What a real Prometheus makes of metrics, alerts and dashboards. Needs Debian's package `prometheus`."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import yaml

from tests.fakes.dry_server import dry_server
from tests.fakes.prometheus import DOCKER, Prometheus, panels, prometheus

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Debian's package prometheus (make test)"),
]
TOKEN = "s3cret"
LEARNED_ONLY = {"The twin against no change expected"}  # empty without a learned twin, and says so
PROBES_ONLY = {"Probes lost by chain", "Silence, median", "A move by its mode"}  # a dry run sends no probes


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with dry_server("small", "--policy", "greedy", token=TOKEN) as address:
        yield address


@pytest.fixture(scope="module")
def server(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus after the first moves of a dry run."""
    with prometheus(url.removeprefix("http://"), tmp_path_factory.mktemp("prometheus"), token=TOKEN) as running:
        assert running.wait_for('vnftwin_migrations_total{status="done"} > 0', timeout_s=60)
        assert running.wait_for("rate(vnftwin_migration_step_seconds_count[1m]) > 0", timeout_s=30)
        yield running


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
    assert server.still_empty(LEARNED_ONLY | PROBES_ONLY, timeout_s=60) == set()


def test_no_alert_fires_while_all_is_well(server: Prometheus) -> None:
    assert server.query('ALERTS{alertstate="firing"}') == []


def test_a_scrape_is_bounded(server: Prometheus) -> None:
    (series,) = server.query('scrape_samples_scraped{job="vnftwin"}')
    assert 300 < float(series["value"][1]) < 800


def test_panels_use_metrics_that_there_are() -> None:
    documented = set(re.findall(r"^\| `(\w+)`", (DOCKER.parent / "docs" / "metrics.md").read_text(), re.M))
    used = {re.sub(r"_bucket$", "", name) for p in panels() for name in re.findall(r"vnftwin_\w+", p.expr)}
    assert used - {"vnftwin_twin_error_ratio"} <= documented


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
