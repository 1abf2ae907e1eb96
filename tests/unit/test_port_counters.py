"""Link loads and offered traffic from replies of simulated switches, with what real ones do to them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from controller.flow_rule import FlowRule, Match
from controller.openflow_replies import FlowCounters, PortCounters
from controller.port_counters import LinkLoads, OfferedTraffic
from controller.rates import UNSUPPORTED
from controller.tags import Cookie, Role
from twin.samples import Quantity, Sample
from twin.scenario_file import load_scenario

SCENARIO = load_scenario("small")
ADJACENCY = {("edge1", "core1"): 1, ("core1", "edge1"): 4}
LINK = "edge1-core1"
MBIT = 125_000  # bytes


def stat(port: int, *, tx: int = 0, rx: int = 0, dropped: int = 0, alive_s: float) -> PortCounters:
    return PortCounters(port, 0, 0, rx, tx, 0, dropped, 0, 0, alive_s)


def values(samples: Sequence[Sample]) -> dict[Quantity, float]:
    assert all(sample.subject == LINK for sample in samples)
    return {sample.quantity: sample.value for sample in samples}


@pytest.fixture
def loads() -> LinkLoads:
    return LinkLoads(SCENARIO, window_s=4.0)


def poll(loads: LinkLoads, now_s: float, switch: str, port: int, *, tx: int, rx: int) -> dict[Quantity, float]:
    return values(loads.add(now_s, switch, [stat(port, tx=tx, rx=rx, alive_s=now_s - 50.0)], ADJACENCY))


def test_the_sender_tells_the_load_of_each_direction(loads: LinkLoads) -> None:
    poll(loads, 100.0, "edge1", 1, tx=0, rx=0)
    poll(loads, 100.0, "core1", 4, tx=0, rx=0)
    poll(loads, 101.0, "edge1", 1, tx=3 * MBIT, rx=2 * MBIT)
    assert poll(loads, 101.0, "core1", 4, tx=2 * MBIT, rx=1 * MBIT) == {Quantity.LINK_LOAD_BACKWARD: 2.0}
    assert poll(loads, 102.0, "edge1", 1, tx=6 * MBIT, rx=4 * MBIT) == {Quantity.LINK_LOAD_FORWARD: 3.0}


def test_the_receiver_stands_in_while_the_sender_is_silent(loads: LinkLoads) -> None:
    poll(loads, 100.0, "core1", 4, tx=0, rx=0)
    both = {Quantity.LINK_LOAD_BACKWARD: 2.0, Quantity.LINK_LOAD_FORWARD: 1.0}
    assert poll(loads, 101.0, "core1", 4, tx=2 * MBIT, rx=MBIT) == both


def test_a_switch_that_left_is_not_believed_any_more(loads: LinkLoads) -> None:
    for now_s in (100.0, 101.0):
        poll(loads, now_s, "edge1", 1, tx=0, rx=0)
        poll(loads, now_s, "core1", 4, tx=0, rx=0)
    loads.forget("edge1")
    assert poll(loads, 102.0, "core1", 4, tx=MBIT, rx=4 * MBIT) == {
        Quantity.LINK_LOAD_BACKWARD: 0.5, Quantity.LINK_LOAD_FORWARD: 2.0
    }  # fmt: skip
    assert poll(loads, 103.0, "edge1", 1, tx=9 * MBIT, rx=0) == {}


def test_rates_are_means_over_the_window(loads: LinkLoads) -> None:
    total = 0
    for second, mbps in enumerate([0, 8, 8, 8, 8, 2, 2, 2, 2]):
        total += mbps * MBIT
        read = poll(loads, 100.0 + second, "edge1", 1, tx=total, rx=0)
    assert read[Quantity.LINK_LOAD_FORWARD] == pytest.approx(2.0)


def test_jitter_of_replies_does_not_show(loads: LinkLoads) -> None:
    """The switch's own clock says how long it counted."""
    loads.add(100.0, "edge1", [stat(1, tx=0, alive_s=10.0)], ADJACENCY)
    samples = loads.add(101.4, "edge1", [stat(1, tx=5 * MBIT, alive_s=11.0)], ADJACENCY)
    assert values(samples)[Quantity.LINK_LOAD_FORWARD] == pytest.approx(5.0)


def test_missing_replies_widen_the_interval(loads: LinkLoads) -> None:
    poll(loads, 100.0, "edge1", 1, tx=0, rx=0)
    assert poll(loads, 107.0, "edge1", 1, tx=14 * MBIT, rx=0)[Quantity.LINK_LOAD_FORWARD] == pytest.approx(2.0)
    # Most of those seven seconds lie before the window of the next reading.
    assert poll(loads, 108.0, "edge1", 1, tx=22 * MBIT, rx=0)[Quantity.LINK_LOAD_FORWARD] == pytest.approx(8.0)


def test_a_repeated_and_a_late_reply_change_nothing(loads: LinkLoads) -> None:
    poll(loads, 100.0, "edge1", 1, tx=0, rx=0)
    poll(loads, 101.0, "edge1", 1, tx=MBIT, rx=0)
    poll(loads, 102.0, "edge1", 1, tx=2 * MBIT, rx=0)
    assert loads.add(102.5, "edge1", [stat(1, tx=2 * MBIT, alive_s=52.0)], ADJACENCY) == []
    assert loads.add(102.6, "edge1", [stat(1, tx=MBIT, alive_s=51.0)], ADJACENCY) == []
    assert poll(loads, 103.0, "edge1", 1, tx=3 * MBIT, rx=0)[Quantity.LINK_LOAD_FORWARD] == pytest.approx(1.0)


@pytest.mark.parametrize(("bits", "alive"), [(32, True), (32, False), (64, True), (64, False)])
def test_a_wrap_is_counted_through(loads: LinkLoads, bits: int, alive: bool) -> None:
    before = 2**bits - MBIT
    for second, tx in enumerate([before, (before + 3 * MBIT) % 2**bits]):
        alive_s = 50.0 + second if alive else float(2**32 - 1)
        samples = loads.add(100.0 + second, "edge1", [stat(1, tx=tx, alive_s=alive_s)], ADJACENCY)
    assert values(samples)[Quantity.LINK_LOAD_FORWARD] == pytest.approx(3.0)


@pytest.mark.parametrize("before", [2**32 - 30_000_000, 5_000_000_000, 40_000_000])
def test_a_reset_gives_no_reading_and_then_the_right_one(loads: LinkLoads, before: int) -> None:
    """No clock of the switch helps; the growth that a wrap would mean is more than the link can carry twice over."""
    unknown_s = float(2**32 - 1)
    loads.add(100.0, "edge1", [stat(1, tx=before, alive_s=unknown_s)], ADJACENCY)
    assert loads.add(101.0, "edge1", [stat(1, tx=MBIT, alive_s=unknown_s)], ADJACENCY) == []
    samples = loads.add(102.0, "edge1", [stat(1, tx=3 * MBIT, alive_s=unknown_s)], ADJACENCY)
    assert values(samples)[Quantity.LINK_LOAD_FORWARD] == pytest.approx(2.0)


def test_a_restart_during_a_pause_is_told_by_the_clocks(loads: LinkLoads) -> None:
    """The new counters have overtaken the old ones, so that their growth looks honest."""
    loads.add(100.0, "edge1", [stat(1, tx=MBIT, alive_s=10.0)], ADJACENCY)
    assert loads.add(160.0, "edge1", [stat(1, tx=400 * MBIT, alive_s=40.0)], ADJACENCY) == []


def test_a_jump_that_no_port_can_make_is_no_reading(loads: LinkLoads) -> None:
    poll(loads, 100.0, "edge1", 1, tx=0, rx=0)
    assert poll(loads, 101.0, "edge1", 1, tx=2**60, rx=0) == {}
    assert poll(loads, 102.0, "edge1", 1, tx=2**60 + MBIT, rx=0)[Quantity.LINK_LOAD_FORWARD] == pytest.approx(1.0)


def test_an_unsupported_counter_is_no_reading(loads: LinkLoads) -> None:
    for second in range(3):
        assert loads.add(100.0 + second, "edge1", [stat(1, tx=UNSUPPORTED, alive_s=second)], ADJACENCY) == []


def test_ports_that_are_no_links_and_deleted_ports_cost_nothing(loads: LinkLoads) -> None:
    for second in range(3):
        assert loads.add(100.0 + second, "edge1", [stat(7, tx=second * MBIT, alive_s=second)], ADJACENCY) == []
    rates = loads.port(102.0, "edge1", 7)
    assert rates is not None
    assert rates.tx_mbps == pytest.approx(1.0)
    loads.add(103.0, "edge1", [stat(1, alive_s=1.0)], ADJACENCY)
    assert loads.port(103.0, "edge1", 7) is None


def test_a_reading_grows_stale(loads: LinkLoads) -> None:
    poll(loads, 100.0, "edge1", 1, tx=0, rx=0)
    poll(loads, 101.0, "edge1", 1, tx=0, rx=0)
    assert loads.port(108.9, "edge1", 1) is not None
    assert loads.port(109.1, "edge1", 1) is None


def test_drops_of_both_ends_are_summed(loads: LinkLoads) -> None:
    for second in range(2):
        loads.add(100.0 + second, "edge1", [stat(1, dropped=5 * second, alive_s=second)], ADJACENCY)
        loads.add(100.0 + second, "core1", [stat(4, dropped=2 * second, alive_s=second)], ADJACENCY)
    assert loads.drops_per_s(101.0, ADJACENCY) == {LINK: pytest.approx(7.0)}


def flow(chain: int, total: int, *, role: Role = Role.INGRESS, alive_s: float = 0.0) -> FlowCounters:
    rule = FlowRule("edge1", 0, 100, Match(), (), None, Cookie(role, chain).value)
    return FlowCounters(rule, total // 512, total, alive_s)


class TestOfferedTraffic:
    def test_bytes_of_the_ingress_rule_are_what_is_offered(self) -> None:
        offered = OfferedTraffic(SCENARIO)
        assert offered.add(100.0, "edge1", [flow(1, 0, alive_s=5.0)]) == []
        (sample,) = offered.add(101.0, "edge1", [flow(1, 100 * 512, alive_s=6.0)])
        assert (sample.at_s, sample.subject, sample.quantity) == (101.0, "web1", Quantity.CHAIN_OFFERED)
        assert sample.value == pytest.approx(100 * 512 * 8 / 1e6)

    def test_other_rules_are_left_out(self) -> None:
        offered = OfferedTraffic(SCENARIO)
        for second in range(3):
            stats = [flow(1, second * MBIT, role=role, alive_s=second) for role in Role if role != Role.INGRESS]
            stats += [flow(100, second * MBIT, alive_s=second)]
            stats += [FlowCounters(FlowRule("edge1", 0, 1, Match(), (), None, 7), 1, second * MBIT, second)]
            assert offered.add(100.0 + second, "edge1", stats) == []

    def test_while_a_user_roams_its_two_rules_are_one_stream(self) -> None:
        """1 Mbit/s all the time: first at edge1, then at edge2, whose rule is new; the old one stands still."""
        offered, read = OfferedTraffic(SCENARIO, window_s=4.0), dict[float, float]()
        for second in range(12):
            old = min(second, 6) * MBIT
            read.update({s.at_s: s.value for s in offered.add(second, "edge1", [flow(1, old, alive_s=second)])})
            if second >= 6:
                new = flow(1, (second - 6) * MBIT, alive_s=second - 6)
                read.update({s.at_s: s.value for s in offered.add(second, "edge2", [new])})
        assert read == {second: pytest.approx(1.0) for second in range(1, 12)}

    def test_a_rule_that_is_gone_is_forgotten(self) -> None:
        offered = OfferedTraffic(SCENARIO)
        for second in range(3):
            offered.add(second, "edge1", [flow(1, second * MBIT, alive_s=second)])
        assert offered.add(3.0, "edge1", []) == []
        assert offered.add(4.0, "edge1", [flow(1, 9 * MBIT, alive_s=1.0)]) == []

    def test_a_rule_made_anew_gives_no_absurd_rate(self) -> None:
        offered = OfferedTraffic(SCENARIO, window_s=1.0)
        offered.add(100.0, "edge1", [flow(1, 900 * MBIT, alive_s=90.0)])
        assert offered.add(101.0, "edge1", [flow(1, MBIT, alive_s=0.5)]) == []
        samples = offered.add(102.0, "edge1", [flow(1, 3 * MBIT, alive_s=1.5)])
        assert [s.value for s in samples] == [pytest.approx(2.0)]

    def test_after_a_switch_returns_its_rules_count_from_there(self) -> None:
        offered = OfferedTraffic(SCENARIO)
        offered.add(100.0, "edge1", [flow(1, MBIT, alive_s=10.0)])
        offered.forget("edge1")
        assert offered.add(101.0, "edge1", [flow(1, 2 * MBIT, alive_s=11.0)]) == []
