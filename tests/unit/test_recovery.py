"""The controller is killed at every single thing it writes about a move: the next one ends it, and nothing is left."""

from __future__ import annotations

import pytest

from controller.records import MigrationStatus
from tests.fakes.site import FakeSite, Killed
from twin.scenario_file import load_scenario

SMALL = load_scenario("small")
VNF, TARGET = "web1.nat", "e2"


def _healthy(site: FakeSite) -> None:
    """Every chain delivers, one serving instance per VNF, no rule too many or too few, no move open."""
    assert all(site.delivered(chain.id) for chain in SMALL.chains)
    assert sorted(site.keeper.active.values()) == sorted(site.instances.running)
    assert all(map(site.instances.is_serving, site.instances.running))
    assert len(site.instances.running) == len(SMALL.vnfs)
    assert site.stray_rules() == frozenset()
    assert site.migrations.busy == set()
    assert all(record.is_final for record in site.migrations.records.values())


def _writes_of_a_move(*, stateful: bool) -> int:
    site = FakeSite(SMALL, stateful=stateful)
    before = site.journal.writes
    assert site.move(VNF, TARGET) == "done"
    return site.journal.writes - before


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("moment", ["die_before", "die_after"])
@pytest.mark.parametrize(
    ("stateful", "number"),
    [(state, n + 1) for state in (False, True) for n in range(_writes_of_a_move(stateful=state))],
)
def test_a_controller_killed_anywhere_in_a_move_leaves_nothing_half_done(
    number: int, stateful: bool, moment: str, lazy: bool
) -> None:
    site = FakeSite(SMALL, stateful=stateful)
    site.switches.lazy = lazy
    setattr(site.journal, moment, site.journal.writes + number)
    with pytest.raises(Killed):
        site.move(VNF, TARGET)
    assert all(site.delivered(chain.id) for chain in SMALL.chains)  # while there is no controller, too
    site.restart()
    (record,) = site.migrations.records.values() or [None]
    assert record is None or record.is_final
    assert all(site.delivered(chain.id) for chain in SMALL.chains)
    assert site.keeper.server_of[VNF] == (TARGET if record and record.status is MigrationStatus.DONE else "c1")
    assert site.stray_rules() == frozenset()
    site.tidy()
    _healthy(site)
    assert site.move("video.monitor", "e1") == "done"
    _healthy(site)
