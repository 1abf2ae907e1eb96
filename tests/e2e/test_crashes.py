"""A short run of the two programs that hurt a live network: every n-th kill of `crashes`, some turns of `faults`."""

from __future__ import annotations

import pytest

from tests.e2e.crashes import run_crashes
from tests.e2e.faults import run_faults

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.mark.parametrize("vnf", ["web1.firewall", "web1.nat"])
def test_a_killed_controllers_move_is_ended_by_the_next(vnf: str) -> None:
    outcomes = run_crashes(vnf, every=5)
    assert len(outcomes) >= 4
    assert {outcome.status for outcome in outcomes} == {"done", "rolled_back"}
    assert [outcome.line() for outcome in outcomes if outcome.problems] == []


def test_after_random_faults_everything_is_in_order() -> None:
    faults = run_faults(moves=12, seed=7, share=0.7)
    assert len({turn.fault for turn in faults.turns}) >= 4
    assert [turn.line() for turn in faults.turns if turn.problems] == []
