"""A live run as its operator sees it: Prometheus scrapes it, every panel has data, and its log tells each decision."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from controller.run import LiveRun, RunOptions, Watcher, run_live
from tests.fakes.prometheus import prometheus

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Debian's package prometheus (make test)"),
]
LEARNED_ONLY = {"The twin against no change expected", "The twin's share in the forecast"}


def test_prometheus_and_the_log_of_a_live_run(tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    def watch(run: LiveRun) -> None:
        with prometheus(run.client.url.removeprefix("http://"), tmp_path) as server:
            for _ in range(40):
                run.step(1.0)
                if server.query('increase(vnftwin_migrations_total{status="done"}[1m]) > 0 and vnftwin_ready == 1'):
                    break
            run.step(6.0)  # until the probes of the move have been counted
            seen["empty"] = server.still_empty(LEARNED_ONLY, timeout_s=20)
            seen["firing"] = server.query('ALERTS{alertstate="firing"}')
            seen["scraped"] = server.query('quantile_over_time(0.5, scrape_duration_seconds{job="vnftwin"}[1m])')

    report = tmp_path / "report"
    run_live(RunOptions("small", 1.0, "greedy", 1, "", report, ("127.0.0.1", 0)), Watcher(), actions=[watch])
    assert seen["empty"] == set()
    assert seen["firing"] == []
    print("scrape, median of the run:", seen["scraped"][0]["value"][1], "s")

    lines = [json.loads(line) for line in (report / "controller-greedy.log").read_text().splitlines()]
    decision = next(line["decision"] for line in lines if line.get("status") == "done")
    assert decision.startswith("d")
    told = [line for line in lines if line.get("decision") == decision]
    assert told[0]["event"].startswith("decided to move")
    assert told[1]["event"] == "verdict: allowed"
    assert {line["step"] for line in told if "step" in line} >= {"StartVnf", "InstallRules", "SwapEntry", "StopVnf"}
