"""How much of a forecast is the twin's: persistence + share · (twin − persistence), found from what was foretold.

Every share of a grid from 0 to 1 has the error that a forecast mixed by it would have had so far, newer slots counting
more. Errors are relative to the larger one of twin and persistence in that slot, so that each slot counts alike: a
session begins with moves, and errors a hundred times those of later would decide for all of it. The one with the least
error is used, first of all rows together, then of each row, which leaves the share of all only by what was read of
itself. Where neither is better the smaller one counts, so that a twin that is of no use ends at 0, and the forecast at
persistence. Source: combining forecasts by their past errors is Bates and Granger's (1969);
grid, forgetting and the weight of what was believed before are ours (docs/twin.md, "Shares").
"""

from __future__ import annotations

import numpy as np

from twin.state import BoolArray, FloatArray

GRID = np.linspace(0.0, 1.0, 9)
MEMORY = 0.98  # what an error counts one slot later: about the last 50 slots
BELIEVED = 3.0  # slots of its own that a share needs to leave what was believed before
_TINY = 1e-12


class Shares:
    """The shares of one head at one distance, for N rows. `prior` is what was believed before anything was read."""

    def __init__(self, prior: float, *, memory: float = MEMORY) -> None:
        self.prior, self._memory = prior, memory
        self._errors: FloatArray | None = None  # [G, N] sums over slots, by share; relative
        self._gap = self._slots = np.zeros(0)  # [N] sums of |twin − persistence|, relative, and of slots

    def update(self, persistence: FloatArray, twin: FloatArray, observed: FloatArray) -> None:
        """One more slot [N], and what both said of it; NaN: not read."""
        known: BoolArray = np.isfinite(observed) & np.isfinite(persistence) & np.isfinite(twin)
        if self._errors is None:
            self._errors = np.zeros((len(GRID), len(known)))
            self._gap, self._slots = np.zeros(len(known)), np.zeros(len(known))
        larger = np.maximum(np.maximum(np.abs(persistence - observed), np.abs(twin - observed)), _TINY)
        errors = np.abs(mixed(GRID[:, None], persistence, twin) - observed) / larger
        self._errors = self._forgotten(self._errors, errors, known)
        self._gap = self._forgotten(self._gap, np.abs(twin - persistence) / larger, known)
        self._slots = self._forgotten(self._slots, np.ones(len(known)), known)

    @property
    def together(self) -> float:
        """The share that all rows together would have had the least error with."""
        if self._errors is None:
            return self.prior
        return float(_least(self._errors.sum(axis=1, keepdims=True), self._usual_gap.sum(keepdims=True), self.prior)[0])

    def of(self, rows: int) -> FloatArray:
        """The share of each row [N]."""
        together = np.full(rows, self.together)
        return together if self._errors is None else _least(self._errors, self._usual_gap, together)

    @property
    def _usual_gap(self) -> FloatArray:
        """How far apart twin and persistence are in a slot [N], on average."""
        result: FloatArray = self._gap / np.maximum(self._slots, 1.0)
        return result

    def _forgotten(self, sums: FloatArray, newest: FloatArray, known: BoolArray) -> FloatArray:
        result: FloatArray = np.where(known, self._memory * sums + np.where(known, newest, 0.0), sums)
        return result


def mixed(share: FloatArray, persistence: FloatArray, twin: FloatArray) -> FloatArray:
    """persistence + share · (twin − persistence)."""
    return persistence + share * (twin - persistence)


def _least(errors: FloatArray, gap: FloatArray, believed: FloatArray | float) -> FloatArray:
    """Of each row [N] the share with the least error [G, N], as though `BELIEVED` slots before, in which twin and
    persistence were as far apart as usual (`gap`), had said `believed`; that stays where nothing was read."""
    away = BELIEVED * np.maximum(gap, _TINY) * np.abs(GRID[:, None] - believed)
    result: FloatArray = GRID[np.argmin(errors + away, axis=0)]
    return result
