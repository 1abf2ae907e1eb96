"""The per-second series of a run as CSV, for plots."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

COLUMNS = ("t_s", "chain", "sent", "received", "window_received", "delay_ms", "delay_p95_ms", "rate_pps", "cpu_idle")


class Series:
    """One row per second and chain; an empty field where nothing was received. Rows are on disk when `add` returns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.write_text(",".join(COLUMNS) + "\n")

    def add(self, t_s: float, chains: Mapping[str, Mapping[str, Any]], cpu_idle: float) -> None:
        """`chains` holds, per chain, the columns between `chain` and `cpu_idle`."""
        with self._path.open("a") as file:
            for name, row in chains.items():
                middle = (_field(row[column]) for column in COLUMNS[2:-1])
                file.write(f"{t_s:.3f},{name},{','.join(middle)},{cpu_idle:.3f}\n")


def _field(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
