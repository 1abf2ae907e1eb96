"""The wire's arithmetic, without any interface."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mininet_topos.delay_line import DelayLine, Wire


def wire(*, mbps: float = 8.0, delay_ms: float = 10.0, loss: float = 0.0) -> Wire:
    return Wire(mbps * 1e6, delay_ms / 1000.0, loss)


def test_a_lone_frame_takes_its_size_over_the_rate_and_the_delay() -> None:
    assert wire().admit(5.0, 1000, 1.0) == pytest.approx(5.0 + 0.001 + 0.010)


def test_a_frame_waits_for_the_one_before() -> None:
    busy = wire()
    due = [busy.admit(0.0, 1000, 1.0) for _ in range(3)]
    assert due == pytest.approx([0.011, 0.012, 0.013])


def test_both_ends_of_the_queue() -> None:
    full = wire(mbps=8.0)
    admitted = [full.admit(0.0, 1000, 1.0) for _ in range(200)]
    passed = sum(due >= 0 for due in admitted)
    assert passed in (100, 101)  # 100 ms of waiting at 1 ms a frame
    assert (full.passed, full.dropped) == (passed, 200 - passed)


def test_a_shorter_delay_does_not_let_frames_overtake() -> None:
    changing = wire(delay_ms=20.0)
    first = changing.admit(0.0, 100, 1.0)
    changing.delay_s = 0.001
    assert changing.admit(0.001, 100, 1.0) >= first


def test_a_cable_that_is_out_passes_nothing() -> None:
    cut = wire()
    cut.up = False
    assert cut.admit(0.0, 100, 1.0) == -1.0
    assert cut.dropped == 1


def test_loss_is_decided_by_chance_alone() -> None:
    lossy = wire(loss=0.3)
    assert lossy.admit(0.0, 100, 0.29) == -1.0
    assert lossy.admit(0.0, 100, 0.31) > 0.0


@given(
    st.lists(st.tuples(st.floats(0.0, 0.05), st.integers(60, 1500)), max_size=80),
    st.floats(1.0, 1000.0),
    st.floats(0.0, 50.0),
)
def test_never_early_never_overtaking_never_above_the_rate(
    frames: list[tuple[float, int]], mbps: float, delay_ms: float
) -> None:
    link, now, sent_bits, last_due = wire(mbps=mbps, delay_ms=delay_ms), 0.0, 0, 0.0
    first = None
    for gap_s, size in frames:
        now += gap_s
        due = link.admit(now, size, 1.0)
        if due < 0.0:
            continue
        first = now if first is None else first
        sent_bits += size * 8
        assert due >= now + size * 8 / (mbps * 1e6) + delay_ms / 1000.0 - 1e-9
        assert due >= last_due
        assert due >= first + sent_bits / (mbps * 1e6) + delay_ms / 1000.0 - 1e-9
        last_due = due


@pytest.mark.parametrize("request_", [{}, {"op": "no"}, {"op": "set", "link": "x"}, {"op": "cable"}, {"op": "set"}])
def test_a_request_that_cannot_be_done_is_answered(request_: dict[str, object]) -> None:
    assert "error" in DelayLine(random.Random(0)).answer(request_)


def test_overhead_is_taken_off_but_never_below_zero() -> None:
    line = DelayLine(random.Random(0))
    assert line.answer({"op": "overhead", "ms": 0.2}) == {}
    assert line.answer({"op": "counters"})["overhead_ms"] == 0.2
