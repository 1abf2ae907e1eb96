"""Arrays that were handed over to compiled code are those that it reads and writes."""

from __future__ import annotations

import copy
import gc
from typing import NamedTuple

import numpy as np
import pytest

from twin.compiled import compiled
from twin.handed import Handed, opened
from twin.model import record
from twin.state import FloatArray

ROW = record("number", "value")


class _Inside(NamedTuple):
    rows: FloatArray
    on: bool
    factor: float


class _Whole(NamedTuple):
    first: FloatArray
    inside: _Inside
    records: np.ndarray


@compiled
def _add_up(handed: Handed[_Whole], out: FloatArray) -> None:
    whole = opened(handed)
    out[0] = whole.first[1] + whole.inside.factor * whole.inside.rows[1, 2] + 100.0 * whole.inside.on
    whole.records[1].value = out[0]
    whole.records[1].number += 1


def _whole() -> _Whole:
    inside = _Inside(np.arange(6.0).reshape(2, 3), True, 10.0)
    return _Whole(np.array([1.0, 2.0]), inside, np.zeros(2, dtype=ROW))


def test_what_was_handed_over_is_read_and_written_where_it_is() -> None:
    whole, out = _whole(), np.zeros(1)
    handed = Handed(whole)
    _add_up(handed, out)
    assert out[0] == 2.0 + 50.0 + 100.0
    whole.first[1] = 3.0  # arrays may change
    _add_up(handed, out)
    assert out[0] == whole.records[1]["value"] == 153.0
    assert whole.records[1]["number"] == 2
    assert handed.value is whole


def test_numbers_are_those_of_the_time_and_another_tuple_is_another_place() -> None:
    whole, out = _whole(), np.zeros(1)
    first = Handed(whole)
    second = Handed(whole._replace(inside=whole.inside._replace(on=False, factor=0.0)))
    _add_up(second, out)
    assert out[0] == 2.0
    _add_up(first, out)
    assert out[0] == 152.0


def test_arrays_live_as_long_as_what_was_handed_over() -> None:
    out = np.zeros(1)
    handed = Handed(_whole())
    gc.collect()
    waste = [np.full(6, -1.0) for _ in range(100)]
    _add_up(handed, out)
    assert out[0] == 152.0
    assert len(waste) == 100


def test_a_copy_is_refused() -> None:
    with pytest.raises(TypeError, match="copy"):
        copy.deepcopy(Handed(_whole()))
