"""The pictures of dashboards: values said as Grafana says them, every panel drawn, queries asked as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread

from tests.bench.boards import STEP_S, ask_board
from tests.bench.drawing import draw_board, said
from tests.fakes.prometheus import DOCKER

BOARDS = sorted((DOCKER / "grafana" / "dashboards").glob("*.json"))
LABELS = ("chain", "server", "link", "switch", "vnf", "outcome", "reason", "status", "step", "head", "mode", "quantity")


class Answering:
    """Two series for every query; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []

    def ask(self, path: str, **parameters: str) -> Any:
        self.asked.append((path, parameters))
        return {"result": [self._row(path, parameters, i) for i in (1, 2)]}

    @staticmethod
    def _row(path: str, parameters: dict[str, str], i: int) -> dict[str, object]:
        labels = {name: f"{name}{i}" for name in LABELS}
        if path == "query":
            return {"metric": labels, "value": [float(parameters["time"]), str(i)]}
        times = [float(parameters["start"]) + STEP_S * k for k in range(30)]
        return {"metric": labels, "values": [[at, str(i * k % 7)] for k, at in enumerate(times)]}


@pytest.mark.slow
@pytest.mark.parametrize("file", BOARDS, ids=lambda file: file.stem)
def test_every_panel_is_drawn_from_its_own_query(file: Path, tmp_path: Path) -> None:
    server = Answering()
    board = ask_board(server, file, began_s=1000.0, ended_s=1060.0)  # type: ignore[arg-type]
    asked = [parameters["query"] for _, parameters in server.asked]
    assert not [query for query in asked if "$" in query]  # all variables are filled in
    assert len(asked) > len([answer for answer in board.answers if answer.series])
    draw_board(board, tmp_path / "board.png")
    height, width = imread(tmp_path / "board.png").shape[:2]
    assert (width, height > 1200) == (1584, True)


def test_what_was_true_at_once_is_one_mark() -> None:
    board = ask_board(Answering(), BOARDS[0], began_s=1000.0, ended_s=1060.0)  # type: ignore[arg-type]
    assert {(mark.begin_s, mark.end_s) for mark in board.marks} == {(0.0, 29 * STEP_S)}


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.01142, "s", "11.4 ms"), (1.05, "s", "1.05 s"), (0.000571, "s", "571 µs"), (0.0, "s", "0 s"),
        (-0.555, "percentunit", "-55.5 %"), (0.2, "percentunit", "20 %"), (1_240_000, "bps", "1.24 Mbit/s"),
        (222.4, "watt", "222 W"), (float("nan"), "watt", "–"), (9, "none", "9"),
    ],
)  # fmt: skip
def test_values_are_said_with_their_unit(value: float, unit: str, text: str) -> None:
    assert said(value, unit) == text
