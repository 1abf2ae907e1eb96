"""A real Prometheus (Debian's package) that scrapes one address, with what Grafana would ask of it."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import yaml

DOCKER = Path(__file__).parents[2] / "docker"
READY_S = 30.0


@dataclass(frozen=True)
class Panel:
    """One query of one panel."""

    board: str
    title: str
    expr: str


def panels() -> list[Panel]:
    """Every query of every dashboard, with Grafana's variables filled in as for a short while."""
    found = []
    for file in sorted((DOCKER / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel.get("targets", []):
                expr = target["expr"].replace("$chain", ".*").replace("$__range", "5m")
                found.append(Panel(file.stem, panel["title"], expr))
    return found


class Prometheus:
    """Asks a running Prometheus."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str, **parameters: str) -> Any:
        reply = requests.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=10).json()
        assert reply["status"] == "success", reply
        return reply["data"]

    def query(self, expr: str) -> list[Mapping[str, Any]]:
        """The series that an expression has now, those that are not a number left out."""
        return [s for s in self.ask("query", query=expr)["result"] if s["value"][1] != "NaN"]

    def empty(self) -> list[Panel]:
        """The panels that would show nothing."""
        return [panel for panel in panels() if not self.query(panel.expr)]

    def still_empty(self, but: set[str], *, timeout_s: float) -> set[str]:
        """Titles of panels without data, `but` these, after waiting for so long at most."""
        deadline = time.monotonic() + timeout_s
        while (titles := {panel.title for panel in self.empty()} - but) and time.monotonic() < deadline:
            time.sleep(1.0)
        return titles

    def wait_for(self, expr: str, *, timeout_s: float) -> list[Mapping[str, Any]]:
        """What an expression gives once it gives something."""
        deadline = time.monotonic() + timeout_s
        while not (found := self.query(expr)) and time.monotonic() < deadline:
            time.sleep(0.2)
        return found


@contextmanager
def prometheus(target: str, folder: Path, *, every: str = "2s", token: str = "") -> Iterator[Prometheus]:
    """Scrapes `target` (host:port) with the project's own configuration, more often; ends with the block."""
    config = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": every, "evaluation_interval": every}
    config["rule_files"] = [str(DOCKER / "prometheus" / "alerts.yml")]
    (job,) = config["scrape_configs"]
    job["static_configs"] = [{"targets": [target]}]
    if token:
        job["authorization"] = {"credentials": token}
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    process = subprocess.Popen(
        ["prometheus", f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}",
         f"--web.listen-address={address}", "--log.level=error"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with process:
        try:
            _wait_ready(f"http://{address}")
            yield Prometheus(f"http://{address}")
        finally:
            process.terminate()


def _wait_ready(url: str) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        try:
            if requests.get(f"{url}/-/ready", timeout=1).status_code == 200:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.1)
    raise AssertionError("Prometheus does not start")
