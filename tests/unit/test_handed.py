"""Arrays that were handed over to compiled code are those that it reads and writes."""

from __future__ import annotations

import copy
import gc

import numpy as np
import pytest

from twin.compiled import compiled
from twin.handed import Handed, opened
from twin.model import record
from twin.state import FloatArray

ROW = record("number", "value")


# Plain tuples: a class of this module would stand in the index of compiled code that `vnftwin` keeps, where no process
# without the tests at hand could read it.
Inside = tuple[FloatArray, bool, float]  # rows, whether on, factor
Whole = tuple[FloatArray, Inside, np.ndarray]


@compiled
def _add_up(handed: Handed[Whole], out: FloatArray) -> None:
    first, (rows, on, factor), records = opened(handed)
    out[0] = first[1] + factor * rows[1, 2] + 100.0 * on
    records[1].value = out[0]
    records[1].number += 1


def _whole(*, on: bool = True, factor: float = 10.0) -> Whole:
    return np.array([1.0, 2.0]), (np.arange(6.0).reshape(2, 3), on, factor), np.zeros(2, dtype=ROW)


def test_what_was_handed_over_is_read_and_written_where_it_is() -> None:
    whole, out = _whole(), np.zeros(1)
    handed = Handed(whole)
    _add_up(handed, out)
    assert out[0] == 2.0 + 50.0 + 100.0
    whole[0][1] = 3.0  # arrays may change
    _add_up(handed, out)
    assert out[0] == whole[2][1]["value"] == 153.0
    assert whole[2][1]["number"] == 2
    assert handed.value is whole


def test_numbers_are_those_of_the_time_and_another_tuple_is_another_place() -> None:
    out = np.zeros(1)
    first = Handed(_whole())
    second = Handed(_whole(on=False, factor=0.0))
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
