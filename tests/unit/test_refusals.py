"""Switches that refuse or do not answer, at every place of every kind of plan: no half chain, and it is said what."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from controller.executor import RolledBack
from controller.flow_rule import PORT_CONTROLLER, FlowRule, Output, PopTag
from controller.steering import Attachment
from controller.steps import Step
from tests.fakes.fabric import forward_packet
from tests.fakes.site import FakeSite
from tests.unit.test_migrations import SMALL, _healthy

CHAIN = SMALL.chain("web1")


@pytest.fixture
def site() -> FakeSite:
    return FakeSite(SMALL)


def _remove(site: FakeSite) -> None:
    plan = site.keeper.plan(CHAIN, None)
    site.migrations.executor.carry_out(plan, _Nobody())
    site.keeper.carried_out(CHAIN.id, plan)


class _Nobody:
    def begin(self, number: int, step: Step, *, undoing: bool) -> None:
        """Nothing."""

    def end(self, number: int, step: Step, *, took_s: float, undoing: bool) -> None:
        """Nothing."""


def _new(site: FakeSite) -> None:
    """The chain is gone; what comes is its set-up."""
    _remove(site)


def _reroute(site: FakeSite) -> None:
    site.down.add("core1-core2")


def _roam(site: FakeSite) -> None:
    site.places["u1"] = ("edge2", 177)


CHANGES = (_new, _reroute, _roam)


def _adds(prepare: Callable[[FakeSite], None]) -> int:
    """How many rules the plan adds."""
    site = FakeSite(SMALL)
    prepare(site)
    before = site.switches.adds
    assert site.migrations.adjust(CHAIN)
    return site.switches.adds - before


def _refuse_from(site: FakeSite, number: int, *, ever: bool) -> None:
    """Refuses the `number`-th rule that is added from now on, and where `ever` all after it: the table stays full."""
    at = site.switches.adds + number
    site.switches.refuse_add = lambda n: n >= at if ever else n == at


def _relent(site: FakeSite) -> None:
    site.switches.refuse_add = site.switches.refuse_modify = lambda _n: False


def _rules_of_chain(site: FakeSite) -> frozenset[FlowRule]:
    return frozenset(rule for rule in site.fabric.rules if rule.cookie >> 16 & 0x7F == CHAIN.number)


@pytest.mark.parametrize("ever", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("prepare", CHANGES, ids=lambda change: change.__name__.strip("_"))
def test_a_full_table_at_any_rule_of_a_change_leaves_all_as_it_was(
    prepare: Callable[[FakeSite], None], ever: bool
) -> None:
    rules = _adds(prepare)
    assert rules >= 3
    for number in range(1, rules + 1):
        site = FakeSite(SMALL)
        prepare(site)
        before = site.fabric.rules
        _refuse_from(site, number, ever=ever)
        with pytest.raises(RolledBack, match=r"step \d of \d+, Install(Rules|Entries): switch \w+ refused to add the "):
            site.migrations.adjust(CHAIN)
        assert site.fabric.rules == before
        _relent(site)
        assert site.migrations.adjust(CHAIN)
        site.migrations.adjust(CHAIN)
        assert site.delivered(CHAIN.id) or prepare is _roam
        assert site.stray_rules() == frozenset()


@pytest.mark.parametrize("vnf", [vnf.id for vnf in SMALL.vnfs])
@pytest.mark.parametrize("ever", [False, True], ids=["once", "from then on"])
def test_a_full_table_at_any_rule_of_a_move_takes_it_back(vnf: str, ever: bool) -> None:
    refused, targets = 0, (SMALL.servers[0], SMALL.servers[-1])  # an edge and a core server
    for server in targets:
        for number in range(1, 30):
            site = FakeSite(SMALL)
            if site.keeper.server_of[vnf] == server.id:
                break
            _refuse_from(site, number, ever=ever)
            if site.move(vnf, server.id) == "done":
                break  # the plan has fewer rules
            refused += 1
            record = site.migrations.records["m1"]
            assert record.status == "rolled_back"
            assert "InstallRules: switch " in record.error
            assert f"of chain {SMALL.chain(SMALL.vnf(vnf).chain).number}, segment" in record.error
            assert "FLOW_MOD_FAILED TABLE_FULL" in record.error
            _healthy(site)
    assert refused >= 3 * (len(targets) - 1)


def test_a_new_chain_that_was_refused_is_closed_not_half_open(site: FakeSite) -> None:
    """A table that takes the path but not the entry: no packet may enter and end half way."""
    _new(site)
    ingress, port = site.places[CHAIN.ingress]
    site.switches.limits[ingress, 0] = len(site.fabric.tables[ingress, 0])
    with pytest.raises(RolledBack, match="refused to add the ingress rule in table 0 of chain"):
        site.migrations.adjust(CHAIN)
    assert not _rules_of_chain(site)
    start = forward_packet(CHAIN.flow, Attachment(ingress, port))
    arrival = site.fabric.deliver(start)
    assert (arrival.kind, arrival.packet) == ("dropped", start)


def test_a_refused_swap_keeps_both_ways_and_says_what_to_do(site: FakeSite) -> None:
    """It cannot be taken back, and going on would delete the way that packets take."""
    site.switches.refuse_modify = lambda _n: True
    assert site.move("web1.nat", "e2") == "failed"
    record = site.migrations.records["m1"]
    assert "SwapEntry: switch " in record.error
    assert "refused to modify the " in record.error
    assert "not done: " in record.error
    assert "web1.nat-" in record.error.partition(" runs on")[0]
    assert site.delivered("web1")
    site.switches.refuse_add = lambda _n: True  # reconciliation is refused as well
    site.reconcile(3)
    assert site.delivered("web1")
    _relent(site)
    site.reconcile(3)
    assert site.delivered("web1")
    assert site.stray_rules() == frozenset()


def test_a_swap_that_is_refused_once_is_done_again(site: FakeSite) -> None:
    first = site.switches.modifies + 1
    site.switches.refuse_modify = lambda n: n == first
    assert site.move("web1.nat", "e2") == "done"
    _healthy(site)


def _messages_of_a_move() -> tuple[int, int]:
    site = FakeSite(SMALL)
    before = site.switches.sends, site.switches.barriers
    site.move("web1.nat", "e2")
    return site.switches.sends - before[0], site.switches.barriers - before[1]


def test_a_barrier_that_is_never_answered_is_decided_by_the_rules() -> None:
    """Before the swap the move is taken back. After it the rules are read, and what they lack is done again."""
    _, barriers = _messages_of_a_move()
    statuses = []
    for number in range(1, barriers + 1):
        for switch in SMALL.switches:
            site = FakeSite(SMALL)
            at = site.switches.barriers + number
            late = {at: switch.id}
            site.switches.late_barrier = lambda n, s, late=late: late.get(n) == s  # type: ignore[misc]
            statuses.append((number, site.move("web1.nat", "e2")))
            _healthy(site)
    assert {n for n, status in statuses if status == "rolled_back"} == {1, 2}
    assert all(status == "done" for n, status in statuses if n > 2)


def test_a_switch_that_never_answers_a_barrier_but_obeys_is_followed_by_its_rules(site: FakeSite) -> None:
    first = site.switches.modifies
    site.switches.late_barrier = lambda _n, _s: site.switches.modifies > first
    assert site.move("web1.nat", "e2") == "done"
    assert site.switches.modifies > first
    _healthy(site)


def _lose_with_its_barrier(site: FakeSite, number: int) -> None:
    lost_at: list[int] = []

    def swallow(sent: int) -> bool:
        if sent == number:
            lost_at.append(site.switches.barriers + 1)
        return sent == number

    site.switches.swallow_send = swallow
    site.switches.late_barrier = lambda barrier, _switch: barrier in lost_at


def test_what_was_swallowed_together_with_its_barrier_is_done_again() -> None:
    """Every message after the swap has begun, lost with the barrier behind it."""
    for number in range(1, _messages_of_a_move()[0] + 1):
        site = FakeSite(SMALL)
        at = site.switches.sends + number
        _lose_with_its_barrier(site, at)
        assert site.move("web1.nat", "e2") in ("done", "rolled_back")
        _healthy(site)


def test_a_switch_that_answers_nothing_after_the_swap_keeps_both_ways(site: FakeSite) -> None:
    first = site.switches.modifies
    site.switches.late_barrier = lambda _n, _s: site.switches.modifies > first
    site.switches.mute.update(s.id for s in SMALL.switches)
    assert site.move("web1.nat", "e2") == "failed"
    assert "did not answer" in site.migrations.records["m1"].error
    assert site.delivered("web1")


def test_a_switch_that_is_gone_at_the_swap_keeps_the_old_way(site: FakeSite) -> None:
    """Its packets still take it: a switch without its controller goes on forwarding."""
    real = site.switches.send

    def leave_before_the_swap(switch: str, messages: object) -> None:
        listed = list(messages)  # type: ignore[call-overload]
        if any(m[1] == 14 and m[25] == 2 for m in listed):
            site.switches.gone.add(switch)
        real(switch, listed)

    site.switches.send = leave_before_the_swap  # type: ignore[method-assign]
    assert site.move("web1.firewall", "c1") == "failed"
    assert site.switches.gone
    assert site.delivered("web1")


def test_a_way_that_no_packet_shows_is_not_taken(site: FakeSite) -> None:
    site.prover.lost = lambda attempt: attempt == 1
    assert site.move("web1.nat", "e2") == "rolled_back"
    assert "ConfirmPath: unconfirmed (the switches say they have the rules)" in site.migrations.records["m1"].error
    _healthy(site)


def test_a_rule_that_was_swallowed_is_found_by_a_packet() -> None:
    """The switch answered the barrier behind it, so only a packet knows; but the last hop, which the capture hides."""
    statuses = []
    for number in range(1, _messages_of_a_move()[0]):
        site = FakeSite(SMALL)
        at = site.switches.sends + number
        site.switches.swallow_send = lambda n, at=at: n == at  # type: ignore[misc]
        statuses.append(site.move("web1.nat", "e2"))
        missing = site.wanted_rules() - site.fabric.rules
        assert all(PopTag() in rule.actions or Output(PORT_CONTROLLER) in rule.actions for rule in missing)
        assert site.delivered("web1") or missing
        site.switches.swallow_send = lambda _n: False
        site.reconcile(3)
        _healthy(site)
    assert statuses.count("rolled_back") > 3


def test_a_swap_that_no_packet_shows_is_done_again_before_anything_is_deleted(site: FakeSite) -> None:
    site.prover.lost = lambda attempt: attempt in (2, 3)
    before = site.switches.modifies
    assert site.move("web1.nat", "e2") == "done"
    swaps = len([s for s in site.migrations.records["m1"].steps if s.name == "SwapEntry"])
    assert site.switches.modifies - before == 3 * swaps
    _healthy(site)


def test_a_swap_that_no_packet_ever_shows_keeps_both_ways(site: FakeSite) -> None:
    site.prover.lost = lambda attempt: attempt > 1
    assert site.move("web1.nat", "e2") == "failed"
    record = site.migrations.records["m1"]
    assert "ConfirmPath: unconfirmed" in record.error
    assert "not done: Drain, DeleteRules, Barrier, StopVnf" in record.error
    assert site.delivered("web1")
    site.reconcile(3)
    assert site.delivered("web1")
