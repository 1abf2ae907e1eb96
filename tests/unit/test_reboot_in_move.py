"""A switch forgets its rules and comes back, at every moment of a move: packets flow at once, not after the move."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from controller import openflow
from controller.rule_mender import RuleMender
from controller.rules import base_rules
from tests.fakes.site import FakeSite
from twin.scenario_file import load_scenario

SMALL = load_scenario("small")
SWITCHES = [switch.id for switch in SMALL.switches]
VNF, TARGETS = "web1.nat", ("e2", "c1")


def mender(site: FakeSite) -> RuleMender:
    return RuleMender(site.keeper, site.migrations, site.switches, lambda: site.now_s)  # type: ignore[arg-type]


def reboot(site: FakeSite, mending: RuleMender, switch: str) -> None:
    """All its rules are lost; it connects, and is asked what it has."""
    site.switches.flush()
    site.fabric.delete({rule for rule in site.fabric.rules if rule.switch == switch})
    mending.is_back(switch)
    base = base_rules(switch, site.keeper.link_ports(switch))
    site.switches.send(switch, [openflow.add_rule(rule) for rule in base])
    mending.mend(switch, site.switches.rules(switch, timeout_s=1.0))


class Moments:
    """Counts what is journalled of moves, and acts once, after the n-th thing."""

    def __init__(self, site: FakeSite) -> None:
        self._write, self.written, self.at, self.act = site.journal.add_step, 0, 0, site.switches.flush
        site.journal.add_step = self._add_step  # type: ignore[method-assign, assignment]

    def arm(self, at: int, act: Callable[[], None]) -> None:
        self.written, self.at, self.act = 0, at, act

    def _add_step(self, *args: object) -> None:
        self._write(*args)  # type: ignore[arg-type]
        self.written += 1
        if self.written == self.at:
            self.act()


def _move_on(site: FakeSite) -> str:
    """Moves the VNF to the other one of two servers."""
    return site.move(VNF, TARGETS[site.keeper.server_of[VNF] == TARGETS[0]])


@pytest.mark.parametrize("stateful", [False, True])
@pytest.mark.parametrize("switch", ["edge1", "core1"])
def test_packets_flow_as_soon_as_it_is_back_whenever_it_reboots(switch: str, stateful: bool) -> None:
    site = FakeSite(SMALL, stateful=stateful)
    mending, moments, seen = mender(site), Moments(site), list[bool]()

    def act() -> None:
        reboot(site, mending, switch)
        seen.extend(site.delivered(chain.id) for chain in SMALL.chains)

    assert _move_on(site) == "done"
    for number in range(1, moments.written + 1):
        seen.clear()
        moments.arm(number, act)
        assert _move_on(site) in ("done", "rolled_back")
        assert seen == [True] * len(SMALL.chains), f"reboot at write {number}"
        site.now_s += 20.0
        for one in SWITCHES * 2:  # aliens go when every entry has been seen to be right
            mending.mend(one, site.switches.rules(one, timeout_s=1.0))
        assert site.stray_rules() == frozenset()
        assert sorted(site.keeper.active.values()) == sorted(site.instances.running)


def test_a_switch_that_has_not_left_is_not_believed_before_the_verdict_interval_is_over() -> None:
    site = FakeSite(SMALL)
    _move_on(site)
    mending, switch = mender(site), "core1"
    stale = frozenset(rule for rule in site.fabric.rules if rule.switch == switch and not rule.cookie >> 16 & 0x7F)
    repaired = []
    for _ in range(2):
        mending.mend(switch, stale)
        repaired.append(mending.counters.rules_repaired)
        site.now_s += 5.0
    assert repaired[0] < repaired[1]
