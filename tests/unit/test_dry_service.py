"""The dry run that is shown: the real loop, plans and records over simulated switches, engines and readings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import eventlet
import pytest

from controller.dry_service import DryService
from controller.effects import CLOSED_S
from controller.executor import Shell
from controller.journal import Journal
from controller.records import MigrationRecord, MigrationStatus
from controller.service import POLL_S
from twin.scenario import Scenario
from twin.scenario_file import load_scenario

SMALL = load_scenario("small")


class Clock:
    """Time goes on only when somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        eventlet.sleep(0)


@pytest.fixture
def journal() -> Iterator[Journal]:
    journal = Journal(Path(":memory:"))
    yield journal
    journal.close()


def _service(journal: Journal, scenario: Scenario = SMALL) -> DryService:
    clock = Clock()
    service = DryService(
        scenario, seed=1, journal=journal, shell=Shell(lambda: clock.now_s, clock.sleep), spawn=eventlet.spawn,
        observe_step=lambda _step, _took: None,
    )  # fmt: skip
    service.set_up()
    service.keep()
    _wait_for(lambda: not service.not_ready())
    service.poll()
    return service


def _wait_for(holds: Callable[[], bool]) -> None:
    with eventlet.Timeout(10):
        while not holds():
            eventlet.sleep(0.001)


def _moved(service: DryService, vnf: str, target: str) -> MigrationRecord:
    record = service.migrations.request(vnf, target, reason="test", predicted=None)
    service.migrations.run(record)
    return record


def test_every_chain_is_steered_and_read(journal: Journal) -> None:
    service = _service(journal)
    assert service.keeper.placement == SMALL.placement
    assert set(service.keeper.installed) == {chain.id for chain in SMALL.chains}
    assert service.state is not None
    assert (service.state.chain_delay_ms > 0).all()
    assert service.missing_links() == []


def test_a_move_goes_through_the_real_steps_and_changes_what_is_read(journal: Journal) -> None:
    service = _service(journal)
    record = _moved(service, "web1.firewall", "e1")
    assert record.status is MigrationStatus.DONE, record.error
    names = [step.name for step in record.steps]
    assert names[0] == "StartVnf"
    assert {"InstallRules", "Barrier", "SwapEntry", "Drain", "StopVnf"} <= set(names)
    before: Any = service.state
    service.poll()
    assert service.state is not None
    assert service.state.placement["web1.firewall"] == "e1"
    web1 = SMALL.chain_index["web1"]
    assert service.state.chain_delay_ms[web1] < 0.8 * before.chain_delay_ms[web1]
    assert service.energy_j > 0


def test_state_is_handed_over_where_a_vnf_keeps_some(journal: Journal) -> None:
    record = _moved(_service(journal), "web1.nat", "e1")
    assert record.status is MigrationStatus.DONE, record.error
    assert record.mode == "hand_over"
    assert {"CopyState", "TakeOver"} <= {step.name for step in record.steps}


def test_moves_of_one_second_happen_one_after_the_other(journal: Journal) -> None:
    service = _service(journal)
    _moved(service, "web1.firewall", "e1")
    _moved(service, "voice.nat", "e1")
    for _ in range(3):
        service.poll()
    assert service.state is not None
    assert [service.state.placement[vnf] for vnf in ("web1.firewall", "voice.nat")] == ["e1", "e1"]


def test_users_roam_and_their_chain_follows(journal: Journal) -> None:
    service = _service(journal)
    for _ in range(round(41 / POLL_S)):
        service.poll()
    assert service.places()["u1"][0] == "edge2"
    service.keep()
    _wait_for(lambda: service.keeper.installed["web1"].segments[0].path[0] == "edge2")


def test_a_cut_link_is_missing_and_driven_around(journal: Journal) -> None:
    service = _service(journal)
    service.world.set_link("core1-core2", up=False)
    assert service.missing_links() == ["core1-core2"]
    route = service.network().route
    assert route("core1", "core2") == ("core1", "core3", "core2")


def test_what_came_of_a_move_is_in_its_record_and_in_the_journal(journal: Journal) -> None:
    service = _service(journal)
    for _ in range(5):
        service.shell.sleep(POLL_S)
        service.poll()
    record = _moved(service, "web1.firewall", "e1")
    for _ in range(round((CLOSED_S + 5) / POLL_S)):
        service.shell.sleep(POLL_S)
        service.poll()
    seen = record.observed
    assert seen is not None
    assert seen.delay_before_ms
    assert seen.delay_after_ms
    assert seen.power_before_w
    assert seen.power_after_w
    assert seen.delay_after_ms < 0.9 * seen.delay_before_ms
    (kept,) = journal.migrations(9)
    assert kept["observed"] == asdict(seen)
