"""Pictures of the dashboards: every panel's own query, asked of a real Prometheus that has scraped a real run.

`python -m tests.bench.dashboards FOLDER [--dry-run] [--seconds 180] [--scenario small] [--policy P]
[--twin T]` makes a run (live:
as root), has Debian's Prometheus scrape it, and draws `docker/grafana/dashboards/*.json` as they are laid out. Grafana
itself is not here and looks different; what is drawn is what it would be told.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from controller.client import ControllerClient
from controller.run import LiveRun, RunOptions, Watcher, run_live
from tests.bench.boards import Board, ask_board
from tests.bench.drawing import draw_board
from tests.fakes.dry_server import dry_server
from tests.fakes.prometheus import DOCKER, prometheus

SETTLE_S = 6.0  # the last scrapes


def watched(url: str, seconds: float) -> dict[str, Board]:
    """The boards, by the name of their file, after a controller has been scraped for so long."""
    files = sorted((DOCKER / "grafana" / "dashboards").glob("*.json"))
    with tempfile.TemporaryDirectory() as folder, prometheus(url.removeprefix("http://"), Path(folder)) as server:
        client, began_s = ControllerClient(url), time.time()
        while time.time() - began_s < seconds:
            time.sleep(1.0)
            client.get("state")  # as the page does
        ended_s = time.time()
        time.sleep(SETTLE_S)
        return {file.stem: ask_board(server, file, began_s=began_s, ended_s=ended_s) for file in files}


def live_boards(scenario: str, policy: str, twin: str, seconds: float) -> dict[str, Board]:
    found: dict[str, Board] = {}

    def watch(run: LiveRun) -> None:
        found.update(watched(run.client.url, seconds))

    with tempfile.TemporaryDirectory() as folder:
        run_live(
            RunOptions(scenario, 1.0, policy, 1, "", Path(folder), ("127.0.0.1", 0), twin=twin),
            Watcher(), actions=[watch],
        )  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dry-run", action="store_true", help="over the simulator: no root, no probes")
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--scenario", default="small")
    parser.add_argument("--policy", default="")
    parser.add_argument("--twin", default="generic", help="who forecasts, so that its error is seen (generic)")
    arguments = parser.parse_args()
    if arguments.dry_run:
        with dry_server(arguments.scenario, "--policy", arguments.policy, "--twin", arguments.twin) as url:
            boards = watched(url, arguments.seconds)
    else:
        boards = live_boards(arguments.scenario, arguments.policy, arguments.twin, arguments.seconds)
    for name, board in boards.items():
        path = arguments.folder / f"dashboard-{name}.png"
        draw_board(board, path)
        print(f"{path}: {sum(bool(a.series) for a in board.answers)} panels with data")


if __name__ == "__main__":
    main()
