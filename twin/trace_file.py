"""Traces of offered traffic: CSV with the columns `time_s,chain,mbps`."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from pathlib import Path

from twin.scenario_nodes import Findings

COLUMNS = ("time_s", "chain", "mbps")
Points = tuple[tuple[float, float], ...]


def read_trace(file: Path, chain: str, findings: Findings, wrong: Callable[[str], None]) -> Points:
    """The steps (time_s, mbps) of one chain. Problems in the CSV are noted with its line, others through `wrong`."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        wrong(f"'{file}' can't be read: {getattr(error, 'strerror', None) or 'is not UTF-8 text'}")
        return ()
    rows = csv.reader(text.splitlines())
    header = [name.strip() for name in next(rows, [])]
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        findings.add(1, "trace", f"lacks the column {', '.join(missing)}", file=str(file))
        return ()
    points = tuple(_points(rows, header, chain, findings, str(file)))
    if not points:
        wrong(f"'{file}' has no row of chain '{chain}'")
    return points


def _points(rows: Iterator[list[str]], header: list[str], chain: str, findings: Findings, file: str) -> Points:
    at, name, rate = (header.index(column) for column in COLUMNS)
    points: list[tuple[float, float]] = []
    for line, row in enumerate(rows, 2):
        if not row:
            continue
        if len(row) != len(header):
            findings.add(line, "trace", f"has {len(row)} fields, not {len(header)}", file=file)
        elif row[name].strip() == chain:
            point = (_number(row[at]), _number(row[rate]))
            problem = _problem(point, points)
            if problem:
                findings.add(line, f"trace of {chain}", problem, file=file)
            else:
                points.append(point)
    return tuple(points)


def _problem(point: tuple[float, float], before: list[tuple[float, float]]) -> str:
    """What is wrong with a point, or an empty string."""
    if not math.isfinite(point[0]) or not math.isfinite(point[1]):
        return "time_s and mbps must be finite numbers"
    if point[0] < 0 or point[1] < 0:
        return "time_s and mbps must not be negative"
    if before and point[0] <= before[-1][0]:
        return f"time_s must grow: {point[0]:g} after {before[-1][0]:g}"
    return ""


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
