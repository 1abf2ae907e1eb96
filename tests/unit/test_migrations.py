"""Moves over a fake site that takes real FlowMod bytes: whatever fails, packets arrive and nothing is left over."""

from __future__ import annotations

import pytest

from tests.fakes.site import FakeSite
from twin.scenario_file import load_scenario

SMALL = load_scenario("small")


@pytest.fixture
def site() -> FakeSite:
    return FakeSite(SMALL)


def _healthy(site: FakeSite) -> None:
    """Every chain delivers, one instance per VNF, no rule too many or too few."""
    assert all(site.delivered(chain.id) for chain in SMALL.chains)
    assert sorted(site.keeper.active.values()) == sorted(site.instances.running)
    assert len(site.instances.running) == len(SMALL.vnfs)
    assert site.stray_rules() == frozenset()
    assert site.migrations.busy == set()


def _adjust_all(site: FakeSite) -> list[bool]:
    return [site.migrations.adjust(chain) for chain in SMALL.chains]


def test_the_site_is_set_up_as_the_scenario_says(site: FakeSite) -> None:
    _healthy(site)


def test_every_vnf_can_go_to_every_server(site: FakeSite) -> None:
    for vnf in SMALL.vnfs:
        for server in SMALL.servers:
            assert site.move(vnf.id, server.id) == "done"
            assert site.keeper.server_of[vnf.id] == server.id
    _healthy(site)


def test_steps_are_journalled_before_and_after(site: FakeSite) -> None:
    site.move("web1.nat", "e2")
    steps = site.journal.steps("m1")
    assert [step.phase for step in steps] == ["begin", "end"] * (len(steps) // 2)
    names = [step.name for step in site.migrations.record("m1").steps]
    assert (names[0], names[-1]) == ("StartVnf", "StopVnf")
    assert names.index("SwapEntry") < names.index("Drain") < names.index("DeleteRules")


def test_a_target_that_does_not_start_changes_nothing_and_rests(site: FakeSite) -> None:
    site.instances.dead_servers.add("e2")
    assert site.move("web1.nat", "e2") == "rolled_back"
    assert site.keeper.server_of["web1.nat"] == "c1"
    assert site.migrations.resting(site.now_s) == {"e2"}
    assert site.migrations.resting(site.now_s + 60.0) == frozenset()
    _healthy(site)


def test_a_refusal_at_any_barrier_ends_whole(site: FakeSite) -> None:
    """Before the swap the move is taken back; after it it goes forward, however often it has to be tried."""
    outcomes = set()
    for number in range(1, 6):
        site.switches.barriers = 0
        site.switches.refuse_barrier = lambda n, number=number: n == number  # type: ignore[misc]
        target = "e2" if site.keeper.server_of["web1.nat"] != "e2" else "c1"
        outcomes.add((number, site.move("web1.nat", target)))
        site.switches.refuse_barrier = lambda _n: False
        _healthy(site)
    assert outcomes == {*((n, "rolled_back") for n in (1, 2)), *((n, "done") for n in (3, 4, 5))}


def test_a_switch_that_never_confirms_after_the_swap_is_a_failure_that_says_so(site: FakeSite) -> None:
    site.switches.refuse_barrier = lambda number: number > site.switches.barriers - 1 and number > first
    first = site.switches.barriers + 2
    record = site.migrations.request("web1.nat", "e2", reason="test", predicted=None)
    site.migrations.run(record)
    assert record.status == "failed"
    assert "Barrier" in record.error
    assert site.keeper.server_of["web1.nat"] == "e2"  # packets do go there
    assert site.delivered("web1")


def test_rules_that_were_swallowed_are_missing_and_found(site: FakeSite) -> None:
    """A switch may confirm a barrier and have forgotten a rule: reconciliation has to see it."""
    site.prover.blind = True
    first = site.switches.sends
    site.switches.swallow_send = lambda number: number == first + 5
    site.move("video.monitor", "e1")
    assert len(site.stray_rules()) == 1


def test_a_failed_link_is_routed_around(site: FakeSite) -> None:
    site.down.add("core1-core2")
    assert any(_adjust_all(site))
    assert all("core1-core2" not in "-".join(s.path) for st in site.keeper.installed.values() for s in st.segments)
    _healthy(site)
    site.down.clear()
    assert any(_adjust_all(site))
    assert not any(_adjust_all(site))
    _healthy(site)


def test_a_roaming_user_is_followed(site: FakeSite) -> None:
    site.places["u1"] = ("edge2", 177)
    began_s = site.now_s
    assert site.migrations.adjust(SMALL.chain("web1"))
    assert site.now_s - began_s >= 1.0  # the user still sends by its old switch for a while
    _adjust_all(site)
    _healthy(site)


def test_a_switch_that_is_gone_stops_no_other(site: FakeSite) -> None:
    """Re-routing around a dead switch: its own rules cannot be deleted, all others must be right."""
    site.switches.gone.add("core1")
    site.down |= {link.id for link in SMALL.links if "core1" in (link.a, link.b)}
    assert site.move("web2.firewall", "e4") == "done"
    assert site.delivered("web2")
    assert {rule.switch for rule in site.stray_rules()} <= {"core1"}


def test_the_same_key_is_the_same_migration(site: FakeSite) -> None:
    first = site.migrations.request("web1.nat", "e2", reason="test", predicted=None, key="k")
    again = site.migrations.request("web1.nat", "e2", reason="test", predicted=None, key="k")
    assert first is again
    assert site.migrations.busy == {"web1"}
