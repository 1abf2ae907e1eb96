"""Whatever switches reply and whenever, rates are never negative or absurd; with honest counters they are right."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from controller.openflow_replies import PortCounters
from controller.port_counters import CEILING_MBPS, LinkLoads
from controller.rates import RateWindow, Reading, increment
from twin.scenario_file import load_scenario

SCENARIO = load_scenario("small")
ADJACENCY = {("edge1", "core1"): 1, ("core1", "edge1"): 4}
counters = st.integers(0, 2**64 - 1) | st.integers(0, 2**33)
ages = st.floats(0.0, 1e9) | st.just(2.0**32) | st.integers(0, 20).map(float)


@given(st.lists(st.tuples(st.floats(0.0, 100.0), st.tuples(*[counters] * 6), ages), max_size=20))
def test_no_replies_give_a_negative_or_absurd_load(replies: list[tuple[float, tuple[int, ...], float]]) -> None:
    loads, now_s = LinkLoads(SCENARIO), 0.0
    for gap_s, c, age_s in replies:
        now_s += gap_s
        stat = PortCounters(1, c[0], c[1], c[2], c[3], c[4], c[5], 0, 0, age_s)
        for sample in loads.add(now_s, "edge1", [stat], ADJACENCY):
            assert 0.0 <= sample.value <= CEILING_MBPS
        for drops in loads.drops_per_s(now_s, ADJACENCY).values():
            assert drops >= 0.0


@given(counters, st.integers(0, 2**40), st.sampled_from([2**32, 2**64]))
def test_growth_across_a_wrap_is_exact(before: int, growth: int, modulus: int) -> None:
    before %= modulus
    assume(growth < modulus)
    assert increment(before, (before + growth) % modulus, limit=growth) == growth


@given(st.integers(1, 2**63), st.data())
def test_a_reset_is_never_a_growth_beyond_the_limit(before: int, data: st.DataObject) -> None:
    after, limit = data.draw(st.integers(0, before - 1)), data.draw(st.integers(0, 2**32))
    assert -1 <= increment(before, after, limit=limit) <= limit


@dataclass(frozen=True)
class Poll:
    """One poll of an honest switch: after a gap, the reply takes a while, or is lost, or comes twice."""

    gap_s: float
    reply_s: float
    lost: bool
    twice: bool


polls = st.lists(
    st.builds(Poll, st.floats(0.2, 3.0), st.floats(0.0, 0.15), st.booleans(), st.booleans()), min_size=5, max_size=40
)


@given(polls, st.floats(0.0, 1000.0), st.integers(0, 2**64 - 1), st.sampled_from([32, 64]), st.booleans())
def test_a_steady_rate_is_read_exactly_whatever_happens_to_replies(
    plan: list[Poll], mbps: float, start: int, bits: int, has_clock: bool
) -> None:
    """Counters that wrap, uneven gaps, lost and repeated replies, with the device's clock or (then in time) without."""
    assume(mbps * 1e6 / 8 * 3.0 * len(plan) < 2**bits)  # slower than one wrap in the longest pause
    window = RateWindow(4.0, ceiling=(50e9,))
    device_s = 100.0
    for poll in plan:
        device_s += poll.gap_s
        total = (start + round((device_s - 100.0) * mbps * 1e6 / 8)) % 2**bits
        taken_s = device_s + 1000.0 + (poll.reply_s if has_clock else 0.0)
        reading = Reading(taken_s, device_s if has_clock else math.nan, (total,))
        for _ in range(0 if poll.lost else 1 + poll.twice):
            window.add(reading, wrap_ceiling=(2000e6 / 8,))
    if window.taken_s > float("-inf"):
        assert window.rates()[0] * 8e-6 == pytest.approx(mbps, abs=1e-4)


@given(polls, st.integers(1, 30), st.integers(0, 2**40))
def test_a_restart_of_the_switch_never_shows_in_the_rate(plan: list[Poll], at: int, start: int) -> None:
    """10 Mbit/s before and after; the counters and the device's clock begin anew in between."""
    window, bytes_per_s = RateWindow(4.0, ceiling=(50e9,)), 1.25e6
    # Up for a while when first read: a switch that restarts within a second of its birth has an age that tells nothing.
    clock_s, born_s = 50.0, 45.0
    base, rates = start, list[float]()
    for i, poll in enumerate(plan):
        clock_s += poll.gap_s
        if i == at:
            born_s, base = clock_s - poll.gap_s / 2, 0
        total = base + round((clock_s - born_s) * bytes_per_s)
        if not poll.lost and window.add(Reading(clock_s + poll.reply_s, clock_s - born_s, (total,))):
            rates.append(window.rates()[0])
    for rate in rates:
        assert rate == pytest.approx(bytes_per_s, rel=1e-3)
