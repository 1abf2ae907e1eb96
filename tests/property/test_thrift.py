"""Policies that want to move at every tick, over simulated hours: the limits hold, counted from the records alone.

The real loop, verdict and migrations run over a fake site and a simulated world; moves take up to several periods,
go on side by side, and fail whenever a target does not start.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from agent.baselines import RandomPolicy
from agent.decision import MigrationDecision, Move, Policy, Prediction, Stay, View
from controller.records import MigrationRecord
from tests.fakes.service import Control
from twin.move_limits import MoveLimits
from twin.scenario_file import load_scenario

SMALL = load_scenario("small")
NOTHING_GAINED = Prediction(1.0, 1.0, 1.0, 1.0)


class Restless:
    """Wants to move at every tick: somewhere, whether it may or not, and often back to where a VNF was."""

    name = "restless"

    def __init__(self, seed: int, *, looks: bool) -> None:
        self._random, self._looks = random.Random(seed), looks

    def decide(self, view: View) -> MigrationDecision:
        mask = view.mask if self._looks else np.ones_like(view.mask)
        moves = np.argwhere(mask).tolist()
        if not moves:
            return Stay("nothing may move")
        vnf, server = self._random.choice(moves)
        return Move(view.scenario.vnfs[vnf].id, view.scenario.servers[server].id, "restless", NOTHING_GAINED)


class PingPong:
    """Moves one VNF to and fro between two servers, for ever."""

    name = "ping-pong"

    def decide(self, view: View) -> MigrationDecision:
        here = view.state.placement["web1.nat"]
        return Move("web1.nat", "c2" if here == "c1" else "c1", "to and fro", NOTHING_GAINED)


def play(policy: Policy, limits: MoveLimits, *, slots: int, seed: int, failing: float = 0.0, slow: int = 1) -> Control:
    """`slots` ticks; a move ends up to `slow` periods after it began, and fails with probability `failing`."""
    control = Control(replace(SMALL, limits=limits), policy, seed=seed)
    service, chance = control.service, random.Random(seed)
    for _ in range(slots):
        control.loop.tick()
        dead = {s.id for s in SMALL.servers if chance.random() < failing}
        service.site.instances.dead_servers = dead
        while service.begun and (slow == 1 or chance.random() < 1.0 / slow):
            service.end_move()
        service.next_period()
    return control


def check(records: Sequence[MigrationRecord], limits: MoveLimits) -> None:
    """Every limit, of every move of the policy, by looking at the moves before it."""
    for i, record in enumerate(records):
        before = records[:i]
        lately = [r for r in before if record.requested_s - r.requested_s < 60.0]
        assert len(lately) < limits.moves_per_minute
        for server in (record.source, record.target):
            assert sum(server in (r.source, r.target) for r in lately) < limits.moves_per_server_minute
        open_then = [r for r in before if r.ended_s is None or r.ended_s > record.requested_s]
        assert len(open_then) < limits.max_parallel
        assert len({SMALL.vnf(r.vnf).chain for r in (*open_then, record)}) == len(open_then) + 1
        check_rest(record, [r for r in before if r.vnf == record.vnf], limits)


def check_rest(record: MigrationRecord, own: Sequence[MigrationRecord], limits: MoveLimits) -> None:
    """The pauses of one VNF since its last move."""
    done = [r.ended_s for r in own if r.status == "done" and r.ended_s is not None]
    if done:
        assert record.requested_s - done[-1] >= limits.cooldown_s
    failed = list(itertools.takewhile(lambda r: r.status != "done", reversed(own)))
    if failed:
        ended_s = failed[0].ended_s
        assert ended_s is not None
        assert record.requested_s - ended_s >= limits.failed_rest_s * min(2.0 ** (len(failed) - 1), 16.0)


limits_drawn = st.builds(
    MoveLimits,
    cooldown_s=st.sampled_from([0.0, 10.0, 45.0]),
    moves_per_minute=st.integers(1, 8),
    moves_per_server_minute=st.integers(1, 6),
    max_parallel=st.integers(1, 3),
    min_gain=st.sampled_from([-1.0, -0.1]),
    min_gain_again=st.sampled_from([-1.0, -0.1]),
    failed_rest_s=st.sampled_from([0.0, 15.0]),
)


@given(limits_drawn, st.integers(0, 1000), st.booleans(), st.sampled_from([0.0, 0.3]), st.integers(1, 4))
@settings(max_examples=12, deadline=None)
def test_whatever_a_restless_policy_wants_the_limits_hold(
    limits: MoveLimits, seed: int, looks: bool, failing: float, slow: int
) -> None:
    control = play(Restless(seed, looks=looks), limits, slots=150, seed=seed, failing=failing, slow=slow)
    check(control.records, limits)
    assert len(control.records) + sum(control.loop.refusals.values()) >= 0.9 * 150  # it did want to, all the time


def test_an_hour_of_a_restless_policy_under_the_default_limits() -> None:
    """A simulated hour each: about as many moves as the budget allows without a least gain, far fewer with one."""
    limits, slots = MoveLimits(), int(3600 / SMALL.period_s)
    greedless = replace(limits, min_gain=-1.0, min_gain_again=-1.0)
    free = play(Restless(1, looks=True), greedless, slots=slots, seed=1, failing=0.05, slow=2)
    held = play(Restless(1, looks=True), limits, slots=slots, seed=1, failing=0.05, slow=2)
    check(free.records, greedless)
    check(held.records, limits)
    assert len(free.records) > 60 * 4  # the check has something to check
    assert len(held.records) < len(free.records) / 4
    assert {"done", "rolled_back"} <= set(free.statuses())


def test_to_and_fro_ends_with_the_cool_down() -> None:
    limits = replace(MoveLimits(), cooldown_s=120.0, min_gain=-1.0, min_gain_again=-1.0)
    control = play(PingPong(), limits, slots=450, seed=3)
    began = [r.requested_s for r in control.records]
    assert 10 <= len(began) <= (control.service.site.now_s / 120.0) + 1
    assert min(b - a for a, b in itertools.pairwise(began)) >= 120.0
    assert control.loop.refusals["cooldown"] >= 300


def test_to_and_fro_that_gains_nothing_ends_with_the_least_gain() -> None:
    control = play(PingPong(), MoveLimits(), slots=450, seed=3)
    began = [r.requested_s for r in control.records]
    assert len(began) >= 2
    # after ten minutes at rest one move may cost a little, and then going back gains that
    assert len(began) <= 2 * (1 + control.service.site.now_s / 600.0)
    assert control.loop.refusals["min_gain_again"] >= 300


@pytest.mark.parametrize("parallel", [1, 2])
def test_moves_of_different_chains_do_go_on_side_by_side(parallel: int) -> None:
    """The limit of parallel moves is a limit, not a lock."""
    limits = MoveLimits(0.0, 1000, 1000, parallel, -1.0, -1.0, 0.0)
    control = play(RandomPolicy(seed=4), limits, slots=300, seed=4, slow=6)
    check(control.records, limits)
    most = max(
        sum(
            r.requested_s <= at.requested_s and (r.ended_s is None or r.ended_s > at.requested_s)
            for r in control.records
        )
        for at in control.records
    )
    assert most == parallel
