"""A dashboard's file, and what a Prometheus answers to each of its panels, as Grafana would have asked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.fakes.prometheus import Prometheus

STEP_S = 2.0
Values = NDArray[np.float64]
Json = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Series:
    """One line: legend, labels, and values at times in seconds since the begin (one of an instant query)."""

    name: str
    labels: Mapping[str, str]
    at_s: Values
    values: Values

    @property
    def last(self) -> float:
        known = self.values[np.isfinite(self.values)]
        return float(known[-1]) if len(known) else float("nan")


@dataclass(frozen=True, eq=False)
class Answer:
    """A panel as its file has it, and what was answered."""

    panel: Json
    series: Sequence[Series]

    @property
    def field(self) -> Json:
        found: Json = self.panel.get("fieldConfig", {}).get("defaults", {})
        return found

    def own(self, name: str, prop: str) -> Any:
        """What an override sets for a series of that name, None where none does."""
        for override in self.panel.get("fieldConfig", {}).get("overrides", []):
            if override["matcher"]["options"] == name:
                for found in override["properties"]:
                    if found["id"] == prop:
                        return found["value"]
        return None


@dataclass(frozen=True, slots=True)
class Mark:
    """An annotation: from when to when its expression was true."""

    colour: str
    begin_s: float
    end_s: float


@dataclass(frozen=True, eq=False)
class Board:
    """A whole dashboard over `seconds`."""

    title: str
    seconds: float
    answers: Sequence[Answer]
    marks: Sequence[Mark]


def ask_board(server: Prometheus, file: Path, *, began_s: float, ended_s: float) -> Board:
    """Every query of every panel between two times (Unix seconds)."""
    content = json.loads(file.read_text())
    asking = _Asking(server, began_s, ended_s)
    answers = [Answer(panel, list(asking.panel(panel))) for panel in content["panels"]]
    shown = [annotation for annotation in content["annotations"]["list"] if "expr" in annotation]
    marks = [mark for annotation in shown for mark in asking.marks(annotation["expr"], annotation["iconColor"])]
    return Board(content["title"], ended_s - began_s, answers, marks)


@dataclass(frozen=True)
class _Asking:
    server: Prometheus
    began_s: float
    ended_s: float

    def panel(self, panel: Json) -> Iterator[Series]:
        for target in panel.get("targets", []):
            for row in self._rows(target["expr"], instant=bool(target.get("instant"))):
                yield self._series(row, target.get("legendFormat") or "")

    def marks(self, expr: str, colour: str) -> Iterator[Mark]:
        for row in self._rows(expr, instant=False):
            at_s = self._series(row, "").at_s
            for run in np.split(at_s, np.flatnonzero(np.diff(at_s) > 1.5 * STEP_S) + 1):
                yield Mark(colour, float(run[0]), float(run[-1]))

    def _rows(self, expr: str, *, instant: bool) -> Sequence[Json]:
        expr = expr.replace("$chain", ".*").replace("$__range", f"{self.ended_s - self.began_s:.0f}s")
        if instant:
            found = self.server.ask("query", query=expr, time=str(self.ended_s))
        else:
            period = {"start": str(self.began_s), "end": str(self.ended_s), "step": str(STEP_S)}
            found = self.server.ask("query_range", query=expr, **period)
        rows: Sequence[Json] = found["result"]
        return rows

    def _series(self, row: Json, legend: str) -> Series:
        pairs = row["values"] if "values" in row else [row["value"]]
        at_s, values = np.array([[float(at), float(value)] for at, value in pairs]).T
        labels = row["metric"]
        return Series(re.sub(r"{{(\w+)}}", lambda m: labels.get(m[1], ""), legend), labels, at_s - self.began_s, values)
