"""Moves by checkpoint and cold over a fake site: whatever fails, packets arrive and one instance is in service."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.fakes.site import FakeSite, Killed
from twin.scenario import Scenario
from twin.scenario_file import load_scenario

SMALL = load_scenario("small")


def _moving(mode: str) -> Scenario:
    """NATs move in this mode only."""
    chains = tuple(
        replace(
            c, vnfs=tuple(
                replace(v, type=replace(v.type, move=mode, allow_cold=True)) if v.type.name == "nat" else v
                for v in c.vnfs
            )
        )
        for c in SMALL.chains
    )  # fmt: skip
    return replace(SMALL, chains=chains)


@pytest.fixture(params=["checkpoint", "cold"])
def site(request: pytest.FixtureRequest) -> FakeSite:
    return FakeSite(_moving(request.param))


def _healthy(site: FakeSite) -> None:
    for chain in SMALL.chains:  # as the control loop does all the time
        site.migrations.adjust(chain)
    assert all(site.delivered(chain.id) for chain in SMALL.chains)
    assert sorted(site.keeper.active.values()) == sorted(site.instances.running)
    assert not site.instances.hollow
    assert site.stray_rules() == frozenset()


def test_a_vnf_moves_in_its_mode_and_its_record_says_so(site: FakeSite) -> None:
    for target in ("e2", "e3", "c1"):
        assert site.move("web1.nat", target) == "done"
        assert site.keeper.server_of["web1.nat"] == target
        _healthy(site)
    record = site.migrations.records["m3"]
    names = [step.name for step in record.steps]
    if record.mode == "cold":
        assert names[:2] == ["Halt", "StartVnf"]
        assert record.may_lose == "its state, and packets during the silence"
    else:
        assert names.index("Barrier") < names.index("Checkpoint") < names.index("Restore") < names.index("SwapEntry")
        assert record.may_lose == "packets during the silence"
    assert record.expected is not None
    assert record.expected.moves == 2
    assert record.expected.packets_at_risk > 0


def test_where_nothing_starts_the_old_one_is_taken_up_again(site: FakeSite) -> None:
    site.instances.dead_servers.add("e2")
    assert site.move("web1.nat", "e2") == "rolled_back"
    assert site.keeper.server_of["web1.nat"] == "c1"
    _healthy(site)


def test_a_refusal_at_any_barrier_ends_whole(site: FakeSite) -> None:
    for number in range(1, 5):
        site.switches.barriers = 0
        site.switches.refuse_barrier = lambda n, number=number: n == number  # type: ignore[misc]
        site.move("web1.nat", "e2" if site.keeper.server_of["web1.nat"] != "e2" else "c1")
        site.switches.refuse_barrier = lambda _n: False
        _healthy(site)


@pytest.mark.parametrize("lack", ["cannot_dump", "cannot_restore"])
def test_a_process_that_does_not_come_through_is_brought_back(lack: str) -> None:
    site = FakeSite(_moving("checkpoint"))
    old = site.keeper.active["web1.nat"]
    setattr(site.instances, lack, True)
    assert site.move("web1.nat", "e2") == "rolled_back"
    assert site.keeper.active["web1.nat"] == old
    _healthy(site)


def test_an_old_one_that_does_not_start_again_leaves_the_vnf_without_instance() -> None:
    """Then one is started as for any VNF that has none."""
    site = FakeSite(_moving("cold"))
    site.instances.dead_servers |= {"e2", "c1"}
    assert site.move("web1.nat", "e2") == "rolled_back"
    assert "web1.nat" not in site.keeper.active


@pytest.mark.parametrize("moment", ["die_before", "die_after"])
def test_a_controller_killed_anywhere_in_a_cold_move_leaves_one_instance(moment: str) -> None:
    """The old one that was started again serves: no other is started, later to be found to serve nothing."""
    for number in range(1, _writes_of_a_cold_move() + 1):
        site = FakeSite(_moving("cold"))
        setattr(site.journal, moment, site.journal.writes + number)
        with pytest.raises(Killed):
            site.move("web1.nat", "e2")
        site.restart()
        assert sorted(site.instances.running) == sorted(site.keeper.active.values()), number
        site.start_missing()
        for chain in SMALL.chains:
            site.migrations.adjust(chain)
        site.tidy()
        _healthy(site)


def _writes_of_a_cold_move() -> int:
    site = FakeSite(_moving("cold"))
    before = site.journal.writes
    assert site.move("web1.nat", "e2") == "done"
    return site.journal.writes - before


def test_without_a_mode_nothing_is_done() -> None:
    site = FakeSite(_moving("checkpoint"))
    site.checkpoint_lack = "criu is not installed"
    before = dict(site.keeper.active)
    record = site.migrations.request("web1.nat", "e2", reason="test", predicted=None)
    site.migrations.run(record)
    assert (record.status, record.error) == ("rolled_back", "no_mode: checkpoint: criu is not installed")
    assert dict(site.keeper.active) == before
    assert ("web1.nat", "e2") in site.migrations.modes.fixed()
    assert not [vnf for vnf, _ in site.migrations.modes.fixed() if not vnf.endswith("nat")]


def test_a_dead_instance_is_replaced_whatever_the_mode(site: FakeSite) -> None:
    site.checkpoint_lack = "criu is not installed"
    record = site.migrations.request("web1.nat", "e2", reason="its instance died", predicted=None, died=True)
    site.migrations.run(record)
    assert record.status == "done"
    assert (record.mode, record.may_lose) == ("replacement", "its state: the instance has died")
    _healthy(site)
