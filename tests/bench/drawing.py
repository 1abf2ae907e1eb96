"""A dashboard on paper: each panel at its place, with its title, unit, legend, thresholds and colours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from matplotlib.ticker import FuncFormatter

from tests.bench.boards import Answer, Board, Series

UNIT_IN, ROW_IN, GAP_IN = 0.6, 0.38, 0.05  # Grafana's grid: 24 columns; a row is 38 pixels high
COLOURS = {
    "green": "#56a64b", "yellow": "#e0b400", "red": "#e02f44", "blue": "#3274d9", "light-blue": "#8ab8ff",
    "dark-blue": "#1f60c4", "text": "#6e7480", "transparent": "#eef0f3",
}  # fmt: skip
CLASSIC = ("#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#e24d42", "#1f78c1", "#ba43a9", "#705da0", "#508642", "#cca300")
FRAME, INK, PALE = "#d5d9e0", "#2b2f36", "#f4f5f7"
SMALL, TITLE = 7.0, 8.5
_UNITS = {"watt": "W", "none": "", "opm": "/min", "percentunit": "%"}
_SCALED = {"s": "s", "bps": "bit/s", "bytes": "B"}


def said(value: float, unit: str, decimals: int | None = None) -> str:
    """A value with its unit as Grafana writes it: 0.0114 s is 11.4 ms."""
    if not np.isfinite(value):
        return "–"
    scale, prefix = 1.0, ""
    if unit == "percentunit":
        scale = 0.01
    elif unit in _SCALED and value:
        steps = ((1e6, "M"), (1e3, "k"), (1.0, "")) if unit != "s" else ((1.0, ""), (1e-3, "m"), (1e-6, "µ"))
        scale, prefix = next((s for s in steps if abs(value) >= s[0]), steps[-1])
    number = value / scale
    whole = abs(number) >= 100 or abs(number - round(number)) < 1e-6
    places = 0 if whole else decimals if decimals is not None else 1 if abs(number) >= 10 else 2
    return f"{number:.{places}f} {prefix}{_UNITS.get(unit, _SCALED.get(unit, ''))}".strip()


def draw_board(board: Board, path: Path) -> None:
    """Writes the picture of a board, as a PNG."""
    panels = [answer.panel["gridPos"] for answer in board.answers]
    width, height = 24 * UNIT_IN, max(p["y"] + p["h"] for p in panels) * ROW_IN
    figure = plt.figure(figsize=(width, height), facecolor=PALE)
    for answer in board.answers:
        place = answer.panel["gridPos"]
        left, low = place["x"] * UNIT_IN + GAP_IN, height - (place["y"] + place["h"]) * ROW_IN + GAP_IN
        size = place["w"] * UNIT_IN - 2 * GAP_IN, place["h"] * ROW_IN - 2 * GAP_IN
        _Card(figure, (left, low), size, (width, height)).draw(answer, board)
    figure.savefig(path, dpi=110)
    plt.close(figure)


class _Card:
    """One panel's frame; places within it are inches from its lower left corner."""

    def __init__(
        self, figure: Figure, corner: tuple[float, float], size: tuple[float, float], whole: tuple[float, float]
    ) -> None:
        self._figure, self._corner, self.size, self._whole = figure, corner, size, whole

    def draw(self, answer: Answer, board: Board) -> None:
        kind = answer.panel["type"]
        if kind == "row":
            self.text(0.05, 0.1, answer.panel["title"], size=10, weight="bold")
            return
        axes = self.axes((0.0, 0.0), self.size)
        axes.axis("off")
        width, height = self.size
        frame = FancyBboxPatch((0, 0), width, height, boxstyle="round,pad=0,rounding_size=0.05",
                               facecolor="white", edgecolor=FRAME, linewidth=0.8)  # fmt: skip
        axes.set(xlim=(-0.01, width + 0.01), ylim=(-0.01, height + 0.01))
        axes.add_patch(frame)
        title = answer.panel["title"]
        self.text(0.1, height - 0.2, title, size=min(TITLE, 95.0 * width / len(title)), weight="bold")
        if not answer.series:
            self.text(width / 2, height / 2 - 0.1, "No data", size=10, colour=COLOURS["text"], ha="center")
            return
        DRAW[kind](self, answer, board)

    def axes(self, corner: tuple[float, float], size: tuple[float, float]) -> Axes:
        (x, y), (w, h) = self._corner, self._whole
        return self._figure.add_axes(((x + corner[0]) / w, (y + corner[1]) / h, size[0] / w, size[1] / h))

    def text(self, x: float, y: float, text: str, *, size: float, colour: str = INK, **more: Any) -> None:
        (left, low), (w, h) = self._corner, self._whole
        self._figure.text((left + x) / w, (low + y) / h, text, fontsize=size, color=colour, **more)


def _stat(card: _Card, answer: Answer, _board: Board) -> None:
    (width, height), series, options = card.size, answer.series[0], answer.panel["options"]
    colour = _by_threshold(answer, series.last)
    mapped = _mapping(answer, series.last)
    named = options["textMode"] == "name"
    text = series.name if named else mapped or said(series.last, answer.field["unit"], answer.field.get("decimals"))
    ground = options["colorMode"] == "background"
    if ground:
        axes = card.axes((0.0, 0.0), (width, height - 0.28))
        axes.axis("off")
        axes.add_patch(Rectangle((0, 0), 1, 1, facecolor=colour))
        axes.set(xlim=(0, 1), ylim=(0, 1))
    elif options["graphMode"] == "area" and len(series.values) > 1:
        axes = card.axes((0.02, 0.02), (width - 0.04, 0.35))
        axes.axis("off")
        axes.fill_between(series.at_s, series.values, np.nanmin(series.values), color=colour, alpha=0.25, linewidth=0)
    size = min(19.0, 95.0 * (width - 0.2) / max(1, len(text)))
    card.text(width / 2, height * 0.42, text, size=size, colour="white" if ground else colour, ha="center",
              va="center", weight="bold")  # fmt: skip


def _timeseries(card: _Card, answer: Answer, board: Board) -> None:
    (width, height), unit = card.size, answer.field["unit"]
    lines = _legend(card, answer)
    axes = card.axes((0.62, 0.3 + lines), (width - 0.62 - (0.6 if _right(answer) else 0.15), height - 0.62 - lines))
    right = axes.twinx() if _right(answer) else None
    stacked, base = answer.field["custom"]["stacking"]["mode"] == "normal", np.zeros(0)
    for number, series in enumerate(answer.series):
        own = answer.own(series.name, "custom.axisPlacement") == "right"
        base = _line(right if own and right else axes, answer, series, number, base if stacked else None)
    _thresholds(axes, answer)
    _marks(axes, board)
    _time_axis(axes, board)
    _value_axis(axes, unit, answer.field.get("min"), answer.field.get("max"))
    if right is not None:
        right.spines[:].set_visible(False)
        name = next(s.name for s in answer.series if answer.own(s.name, "custom.axisPlacement") == "right")
        _value_axis(right, str(answer.own(name, "unit")), 0.0, None)


def _line(
    axes: Axes, answer: Answer, series: Series, number: int, base: np.ndarray[Any, Any] | None
) -> np.ndarray[Any, Any]:
    """Draws one series, on top of `base` where they are stacked; what it reaches."""
    custom, colour = answer.field["custom"], _colour(answer, series, number)
    values = series.values
    if base is not None and len(base) == len(values):
        values = values + base
    style = "--" if answer.own(series.name, "custom.lineStyle") else "-"
    steps = "steps-post" if custom.get("lineInterpolation") == "stepAfter" else "default"
    width = answer.own(series.name, "custom.lineWidth") or custom["lineWidth"]
    axes.plot(series.at_s, values, style, color=colour, linewidth=0.6 * width, drawstyle=steps)
    opacity = answer.own(series.name, "custom.fillOpacity")
    fill = (custom["fillOpacity"] if opacity is None else opacity) / 100.0
    low = base if base is not None and len(base) == len(values) else 0.0
    axes.fill_between(series.at_s, values, low, color=colour, alpha=fill, linewidth=0)
    return np.asarray(values)


def _legend(card: _Card, answer: Answer) -> float:
    """Names under the axes, as wide as they are; a table of last and most where the panel has one. Its height."""
    unit, table = answer.field["unit"], answer.panel["options"]["legend"]["displayMode"] == "table"
    entries = []
    for number, series in enumerate(answer.series):
        values = (
            f"   last {said(series.last, unit)}, max {said(float(np.nanmax(series.values)), unit)}" if table else ""
        )
        entries.append((_colour(answer, series, number), series.name + values))
    rows = _wrapped(entries, card.size[0] - 0.2, one_each=table)
    for i, row in enumerate(rows):
        x, y = 0.15, 0.08 + 0.13 * (len(rows) - 1 - i)
        for colour, text in row:
            card.text(x, y, "━", size=SMALL, colour=colour)
            card.text(x + 0.15, y, text, size=SMALL)
            x += _wide(text)
    return 0.13 * len(rows)


def _wide(text: str) -> float:
    return 0.3 + 0.055 * len(text)


def _wrapped(entries: Sequence[tuple[str, str]], room: float, *, one_each: bool) -> list[list[tuple[str, str]]]:
    rows: list[list[tuple[str, str]]] = []
    used = room
    for entry in entries:
        if one_each or used + _wide(entry[1]) > room:
            rows.append([])
            used = 0.0
        rows[-1].append(entry)
        used += _wide(entry[1])
    return rows


def _state_timeline(card: _Card, answer: Answer, board: Board) -> None:
    width, height = card.size
    names = [series.name for series in answer.series]
    room = 0.25 + 0.06 * max(map(len, names))
    axes = card.axes((room, 0.48), (width - room - 0.15, height - 0.85))
    for row, series in enumerate(reversed(answer.series)):
        ends = [*series.at_s[1:], series.at_s[-1] + (series.at_s[-1] - series.at_s[-2] if len(series.at_s) > 1 else 1)]
        for begin, end, value in zip(series.at_s, ends, series.values, strict=True):
            axes.barh(row, end - begin, 0.8, begin, color=_by_threshold(answer, value), alpha=0.85, linewidth=0)
    _time_axis(axes, board)
    axes.set(yticks=range(len(names)), ylim=(-0.5, len(names) - 0.5))
    axes.set_yticklabels(names[::-1], fontsize=SMALL)
    axes.grid(visible=False)
    mapped = answer.field.get("mappings", [{"options": {}}])[0]["options"].values()
    x = 0.15
    for entry in {e["text"]: e for e in mapped}.values():
        card.text(x, 0.08, "■", size=SMALL, colour=COLOURS[entry["color"]])
        card.text(x + 0.15, 0.08, entry["text"], size=SMALL)
        x += _wide(entry["text"])


def _bar_gauge(card: _Card, answer: Answer, _board: Board) -> None:
    width, height = card.size
    series, unit = list(answer.series), answer.field["unit"]
    room = 0.25 + 0.06 * max(len(s.name) for s in series)
    axes = card.axes((room, 0.12), (width - room - 0.85, height - 0.45))
    most = answer.field.get("max") or max(s.last for s in series) or 1.0
    for row, one in enumerate(series):
        colour = _colour(answer, one, row) if answer.own(one.name, "color") else _by_threshold(answer, one.last)
        axes.barh(row, most, 0.7, color=PALE)
        axes.barh(row, min(one.last, most), 0.7, color=colour, alpha=0.85)
        axes.text(1.03 * most, row, said(one.last, unit), va="center", fontsize=TITLE, color=colour, weight="bold")
    axes.set(yticks=range(len(series)), xlim=(0, most), ylim=(len(series) - 0.5, -0.5), xticks=[])
    axes.set_yticklabels([s.name for s in series], fontsize=SMALL)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _table(card: _Card, answer: Answer, _board: Board) -> None:
    width, height = card.size
    chosen = answer.panel["transformations"][0]["options"]
    columns = sorted(chosen["renameByName"], key=lambda name: chosen["indexByName"][name])
    rows = sorted(tuple(series.labels[name] for name in columns) for series in answer.series)
    step = min(0.19, (height - 0.5) / (len(rows) + 1))
    for i, row in enumerate([tuple(chosen["renameByName"][name] for name in columns), *rows]):
        for k, text in enumerate(row):
            colour, weight = (COLOURS["blue"], "bold") if i == 0 else (INK, "normal")
            card.text(0.15 + k * width / len(columns), height - 0.42 - i * step, text, size=SMALL + 0.5,
                      colour=colour, weight=weight)  # fmt: skip


def _time_axis(axes: Axes, board: Board) -> None:
    axes.set_xlim(0.0, board.seconds)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda s, _: f"{int(s) // 60}:{int(s) % 60:02d}"))
    axes.set_xticks(np.arange(0.0, board.seconds + 1.0, 30.0 if board.seconds <= 240 else 120.0))
    axes.tick_params(labelsize=SMALL, colors=COLOURS["text"], length=2)
    axes.grid(alpha=0.3, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[:].set_color(FRAME)


def _value_axis(axes: Axes, unit: str, low: float | None, high: float | None) -> None:
    axes.set_ylim(bottom=low, top=high)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: said(value, unit)))
    axes.tick_params(labelsize=SMALL, colors=COLOURS["text"], length=2)


def _thresholds(axes: Axes, answer: Answer) -> None:
    if answer.field["custom"]["thresholdsStyle"]["mode"] == "line":
        for step in answer.field["thresholds"]["steps"]:
            if step["value"] is not None:
                axes.axhline(step["value"], color=COLOURS[step["color"]], linewidth=0.8)


def _marks(axes: Axes, board: Board) -> None:
    for mark in board.marks:
        axes.axvspan(mark.begin_s, mark.end_s, color=COLOURS[mark.colour], alpha=0.08, linewidth=0)
        axes.axvline(mark.begin_s, color=COLOURS[mark.colour], linewidth=0.7, linestyle=(0, (3, 3)), alpha=0.6)


def _right(answer: Answer) -> bool:
    return any(answer.own(series.name, "custom.axisPlacement") == "right" for series in answer.series)


def _colour(answer: Answer, series: Series, number: int) -> str:
    own = answer.own(series.name, "color")
    return COLOURS[own["fixedColor"]] if own else CLASSIC[number % len(CLASSIC)]


def _by_threshold(answer: Answer, value: float) -> str:
    steps = answer.field.get("thresholds", {}).get("steps") or [{"color": "blue", "value": None}]
    reached = [step for step in steps if step["value"] is None or value >= step["value"]]
    return COLOURS[reached[-1]["color"]]


def _mapping(answer: Answer, value: float) -> str:
    """The word that a panel has for a value, '' where it has none."""
    for mapping in answer.field.get("mappings", []):
        if (found := mapping["options"].get(f"{value:g}")) is not None:
            return str(found["text"])
    return ""


Draw = Callable[[_Card, Answer, Board], None]
DRAW: Mapping[str, Draw] = {
    "stat": _stat, "timeseries": _timeseries, "state-timeline": _state_timeline, "bargauge": _bar_gauge,
    "table": _table,
}  # fmt: skip
