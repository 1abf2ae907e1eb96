"""Branches, and what is recorded for them: exact where the twin is exact, and refused where they do not fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agent.actions import legal_actions
from tests.unit.small_worlds import line
from twin.branches import Branches, random_placements
from twin.correction import Correction
from twin.experience import Experience, recorded
from twin.fast import BatchSim
from twin.identification import Identification
from twin.model import model
from twin.routing import configured_routes
from twin.scenario import Scenario
from twin.scenario_file import load_scenario
from twin.simulator import TwinWorld
from twin.state import IntArray, StateBuilder

HORIZON = 4


def _lived(
    scenario: Scenario, sim: BatchSim, slots: int, rng: np.random.Generator
) -> tuple[Experience, list[IntArray], list[np.ndarray]]:
    """Random legal moves: what was recorded, done and got."""
    seen, experience = sim.reset(), Experience()
    experience.add([sim.reading()])
    actions, rewards = [], []
    for _ in range(slots):
        legal = legal_actions(seen["mask"])
        actions.append((rng.random(legal.shape) * legal).argmax(axis=-1))
        seen, reward, _, _ = sim.step(actions[-1])
        experience.add([sim.reading()])
        rewards.append(reward.copy())
    return experience, actions, rewards


def test_where_the_twin_is_exact_synthetic_rewards_are_the_real_ones() -> None:
    """Every recorded window, replayed from its start with the same actions, gives the same rewards and observations."""
    scenario, rng = load_scenario("small"), np.random.default_rng(3)
    sim = BatchSim(scenario, 4, 5, slots=20)
    experience, actions, rewards = _lived(scenario, sim, 40, rng)
    at = experience.windows(HORIZON)
    still = ~np.stack([experience.all.roamed[at[:, 0] + k, at[:, 1]] for k in range(1, HORIZON + 1)]).any(axis=0)
    at = at[still]  # nobody in a branch knows who will roam
    branches = Branches(scenario, len(at), HORIZON)
    branches.begin(experience.starts(at), experience.traffic(at, HORIZON))
    assert len(at) > 50
    for k in range(HORIZON):
        chosen = np.array([actions[t + k][b] for t, b in at])
        _, reward, happened = branches.step(chosen)
        np.testing.assert_allclose(reward, [rewards[t + k][b] for t, b in at], atol=1e-6)
        assert not happened["illegal"].any()
    with pytest.raises(ValueError, match="end after 4 slots"):
        branches.step(chosen)


def test_windows_never_span_two_episodes() -> None:
    scenario = line()
    experience, _, _ = _lived(scenario, BatchSim(scenario, 2, 0, slots=6), 17, np.random.default_rng(0))
    found = {tuple(row) for row in experience.windows(3).tolist()}
    assert found == {(t, b) for b in (0, 1) for t in (0, 1, 2, 6, 7, 8, 12, 13, 14)}
    history = experience.history(np.array([[7, 0]]), 4)
    np.testing.assert_array_equal(history[0], experience.all.offered_mbps[[6, 6, 6, 7], 0])


def test_other_shapes_are_refused() -> None:
    scenario = line()
    experience, _, _ = _lived(scenario, BatchSim(scenario, 2, 0, slots=20), 10, np.random.default_rng(0))
    at = experience.windows(HORIZON)[:3]
    branches = Branches(scenario, 3, HORIZON)
    with pytest.raises(ValueError, match="want 3"):
        branches.begin(experience.starts(at[:2]), experience.traffic(at[:2], HORIZON))
    with pytest.raises(ValueError, match="at least 1"):
        Branches(scenario, 0, 1)


def test_an_action_that_names_nothing_is_refused_and_nothing_happens() -> None:
    scenario = line()
    experience, _, _ = _lived(scenario, BatchSim(scenario, 2, 0, slots=20), 10, np.random.default_rng(0))
    at = experience.windows(HORIZON)[:2]
    branches = Branches(scenario, 2, HORIZON)
    branches.begin(experience.starts(at), experience.traffic(at, HORIZON))
    for action in (-1, 10):
        with pytest.raises(ValueError, match="names no"):
            branches.step(np.array([0, action]))
    for _ in range(HORIZON):
        branches.step(np.zeros(2, dtype=np.int64))


def test_another_physics_and_another_belief_hold_from_the_next_beginning() -> None:
    scenario, rng = line(), np.random.default_rng(1)
    experience, _, _ = _lived(scenario, BatchSim(scenario, 4, 0, slots=20), 10, rng)
    at = experience.windows(HORIZON)
    nominal = model(scenario, configured_routes(scenario))
    other = Correction.drawn(scenario, np.random.default_rng(4), most=0.4).apply(nominal, scenario)

    def played(branches: Branches) -> tuple[np.ndarray, np.ndarray]:
        branches.begin(experience.starts(at), experience.traffic(at, HORIZON))
        seen, reward, _ = branches.step(np.zeros(len(at), dtype=np.int64))
        return reward, seen["pair"].copy()

    branches = Branches(scenario, len(at), HORIZON)
    before, shown = played(branches)
    branches.physics = other
    after, unchanged = played(branches)
    np.testing.assert_array_equal(unchanged, shown)
    np.testing.assert_array_equal(after, played(Branches(scenario, len(at), HORIZON, physics=other))[0])
    assert (after != before).any()
    branches.belief = other
    np.testing.assert_array_equal(played(branches)[0], after)
    assert (played(branches)[1] != shown).any()


def test_a_counterfactual_has_the_vnfs_elsewhere_and_all_else_as_it_was() -> None:
    scenario, rng = line(), np.random.default_rng(1)
    experience, _, _ = _lived(scenario, BatchSim(scenario, 4, 0, slots=20), 10, rng)
    starts = experience.starts(experience.windows(HORIZON))
    hosts = random_placements(scenario, len(starts), rng, offered_mbps=starts.offered_mbps)
    moved = starts.placed(hosts)
    np.testing.assert_array_equal(moved.offered_mbps, starts.offered_mbps)
    assert (moved.hosts != starts.hosts).any()
    for row, idle_s in zip(moved.hosts, moved.idle_s, strict=True):
        assert set(np.flatnonzero(idle_s == 0.0)) == set(row.tolist())
    assert len({tuple(row) for row in hosts.tolist()}) > 3


def test_hidden_numbers_are_identified_from_noisy_readings() -> None:
    """Service times, queueing, cross-traffic and power curves, each off by up to half."""
    scenario, rng = line(), np.random.default_rng(7)
    nominal = model(scenario, configured_routes(scenario))
    truth = Correction.drawn(scenario, np.random.default_rng(4), most=0.4)
    sim = BatchSim(scenario, 8, 1, slots=64, physics=truth.apply(nominal, scenario))
    experience, _, _ = _lived(scenario, sim, 60, rng)
    rows = experience.rows()
    noisy = rows.chain_delay_ms * (1.0 + 0.01 * rng.standard_normal(rows.chain_delay_ms.shape))
    noisy[::7] = np.nan  # gaps
    rows = replace(rows, chain_delay_ms=noisy)
    found = Identification(scenario, members=2, rng=rng)
    before = found.error(rows)
    for _ in range(3):
        found.fit(rows)
    assert found.error(rows) < 0.1 * before
    np.testing.assert_allclose(found.corrections[0].idle, truth.idle, rtol=0.1)
    np.testing.assert_allclose(found.corrections[0].service, truth.service, rtol=0.15)


def test_members_differ_where_nothing_was_seen_and_agree_where_much_was() -> None:
    """A server that never ran anything: its power is anyone's guess. The others' power at the one load that was seen
    is not, whatever of it is idle power."""
    scenario, rng = line(), np.random.default_rng(0)
    sim = BatchSim(scenario, 4, 1, slots=64, randomise=False)
    sim.reset()
    experience = Experience()
    for _ in range(30):
        sim.step(np.zeros(4, dtype=np.int64))
        experience.add([sim.reading()])
    found = Identification(scenario, members=8, rng=rng)
    found.fit(experience.rows())
    assert set(sim.hosts[0].tolist()) == {0, 1}
    load = experience.rows().server_cores.mean(axis=0) / found.nominal.servers["cores"]
    servers = [found.physics(k).servers for k in range(8)]
    power_w = np.array([s["idle_w"] + (s["peak_w"] - s["idle_w"]) * load for s in servers])
    spread = power_w.std(axis=0) / power_w.mean(axis=0)
    assert spread[2] > 0.1 > 10.0 * max(spread[0], spread[1])


def test_states_of_a_live_run_become_readings_of_one_stream() -> None:
    scenario = line()
    world, builder, states = TwinWorld(scenario, seed=2), StateBuilder(scenario), []
    builder.add(world.observe(0.0))
    for slot in range(6):
        states.append(builder.build(world.now_s))
        if slot == 2:
            world.execute("one.firewall", "s2")
        builder.add(world.observe(world.now_s + scenario.period_s))
    late = replace(states[-1], at_s=states[-1].at_s + 100.0)
    readings = recorded(scenario, [*states, late])
    assert [bool(r.first[0]) for r in readings] == [True, *[False] * 5, True]
    moved = readings[3]
    assert moved.hosts[0, 0] == 1
    assert moved.since_move_s[0, 0] == pytest.approx(scenario.period_s)
    assert moved.idle_s[0, 0] == pytest.approx(scenario.period_s)
    assert np.isinf(readings[0].idle_s[0, 2])
