"""The simulators: the readable one by hand, the compiled one against it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.small_worlds import LINE, line, state_with
from twin.costs import evaluate
from twin.errors import InputError
from twin.fast import BatchObservation, BatchSim
from twin.feasibility import Limits, feasible_moves
from twin.features import encode
from twin.forecast import PersistenceForecaster, SmoothedForecaster
from twin.migration_cost import MigrationCost
from twin.routing import configured_routes
from twin.samples import Quantity, Sample
from twin.scenario import Scenario
from twin.scenario_file import load_scenario
from twin.search import search
from twin.simulator import TwinWorld
from twin.state import StateBuilder
from twin.tables import initial_hosts
from twin.telemetry import EXACT, Noise

PLAIN = MigrationCost(duration_s=1.0, silence_ms=20.0, extra_power_w=5.0, transfer_mbps=200.0, transfer_j_per_mb=0.1)


def world_of(scenario: Scenario, **options: object) -> TwinWorld:
    return TwinWorld(scenario, seed=1, noise=EXACT, migration=PLAIN, **options)  # type: ignore[arg-type]


def last(samples: list[Sample], subject: str, quantity: Quantity) -> float:
    return [s.value for s in samples if (s.subject, s.quantity) == (subject, quantity)][-1]


def test_staying_gains_nothing() -> None:
    world = world_of(line())
    world.observe(40.0)
    assert len(world.slots) == 10
    assert {slot.reward for slot in world.slots} == {0.0}
    assert world.slots[0].energy_j == pytest.approx(290.0 * 4)


def test_a_move_costs_in_its_slot_and_counts_for_its_time() -> None:
    """nat moves from s2 (stays awake) to s3 (asleep): 1 s to wake, 1 s to start, 0.2 s for 5 MB."""
    scenario = line()
    world = world_of(scenario)
    world.observe(0.0)
    world.execute("one.nat", "s3")
    world.observe(4.0)
    slot, routes = world.slots[0], configured_routes(scenario)
    args = (np.array([4.0, 2.0]), np.array([0, 2]))
    before = evaluate(scenario, routes, np.array([0, 1, 1]), *args)
    after = evaluate(scenario, routes, np.array([0, 2, 1]), *args)
    assert slot.moved == "one.nat"
    silence = 4 / 6 * 20.0**2 / 8000.0
    assert slot.delay_ms == pytest.approx((2.2 * before.mean_delay_ms + 1.8 * after.mean_delay_ms) / 4 + silence)
    servers = 150 * 4 + (130 * 2.2 + 115 * 1.8) + (100 * 2.2 + 115 * 1.8) + 150
    assert slot.energy_j == pytest.approx(servers + 2 * 5 * 2.2 + 0.1 * 5)
    assert slot.energy0_j == pytest.approx(290.0 * 4)
    delta, eta = 1 - slot.delay_ms / slot.delay0_ms, 1 - slot.energy_j / slot.energy0_j
    assert slot.reward == pytest.approx(0.5 * delta + 0.5 * eta)


def test_a_server_left_empty_sleeps_after_its_hold_time() -> None:
    """firewall leaves s1 at 1.04 s; 6 s of hold time end 3.04 s into the second slot."""
    world = world_of(line())
    samples = world.observe(0.0)
    world.execute("one.firewall", "s2")
    samples += world.observe(4.0)
    assert last(samples, "s1", Quantity.SERVER_AWAKE) == 1.0
    assert last(samples, "s1", Quantity.SERVER_POWER) == 100.0
    samples += world.observe(8.0)
    assert last(samples, "s1", Quantity.SERVER_AWAKE) == 0.0
    settled = 10.0 + 155.0 + 10.0  # s2 carries 0.5 + 0.3 + 0.3 of 2 cores
    awake_s = 6.0 - (4.0 - 1.04)
    assert world.slots[1].energy_j == pytest.approx(settled * 4 + (100 - 10) * awake_s)
    world.observe(12.0)
    assert world.slots[2].energy_j == pytest.approx(settled * 4)


def test_waking_is_charged_only_to_a_server_that_sleeps() -> None:
    world = world_of(line())
    world.observe(0.0)
    for k, target in enumerate(("s2", "s1")):  # back to s1 while it is still awake
        world.execute("one.firewall", target)
        world.observe(4.0 * (k + 1))
    back = world.slots[1]
    assert back.energy_j == pytest.approx(1.04 * (100 + 155) + 2.96 * (150 + 130) + 40 + 10 * 1.04 + 0.1)


def test_what_is_read_during_a_move_is_the_old_placement() -> None:
    world = world_of(line())
    world.observe(0.0)
    world.execute("one.nat", "s3")
    read = {s.at_s: s.value for s in world.observe(4.0) if (s.subject, s.quantity) == ("one.nat", Quantity.VNF_HOST)}
    assert read == {1.0: 1.0, 2.0: 1.0, 3.0: 2.0, 4.0: 2.0}


def test_samples_are_in_time_and_on_the_pollers_schedule() -> None:
    samples = world_of(line(), poll_s=0.5).observe(8.0)
    times = [s.at_s for s in samples]
    assert times == sorted(times)
    assert sorted(set(times)) == [k * 0.5 for k in range(17)]


def test_observing_in_pieces_or_at_once_gives_the_same() -> None:
    scenario = load_scenario("small")
    whole, pieces = (TwinWorld(scenario, seed=4) for _ in range(2))
    parts = [sample for k in range(61) for sample in pieces.observe(float(k))]
    assert parts == whole.observe(60.0)


def test_another_seed_gives_other_readings() -> None:
    first, second = (TwinWorld(load_scenario("small"), seed=seed).observe(20.0) for seed in (1, 2))
    assert first != second


def test_noise_and_gaps_are_as_stated() -> None:
    noise = Noise(relative=0.05, delay_ms=0.5, missing=0.1)
    samples = TwinWorld(line(), seed=3, noise=noise).observe(4000.0)
    offered = np.array([s.value for s in samples if (s.subject, s.quantity) == ("one", Quantity.CHAIN_OFFERED)])
    delay = np.array([s.value for s in samples if (s.subject, s.quantity) == ("a-b", Quantity.LINK_DELAY)])
    assert len(offered) / 4001 == pytest.approx(0.9, abs=0.02)
    assert offered.std() / 4.0 == pytest.approx(0.05, rel=0.1)
    assert delay.std() == pytest.approx(0.5, rel=0.1)


def test_a_user_that_roams_is_seen_at_the_slot_it_roams_in() -> None:
    world = world_of(line(LINE + "moves: [{endpoint: u, at_s: 8, to: c}]\n"))
    samples = world.observe(12.0)
    seen = {s.at_s: s.value for s in samples if s.quantity is Quantity.ENDPOINT_SWITCH and s.subject == "u"}
    assert seen[7.0] == 0.0
    assert seen[8.0] == 2.0
    assert world.slots[1].delay_ms != world.slots[2].delay_ms


def test_a_cut_link_loses_the_chain_and_its_delay_reading() -> None:
    world = world_of(line())
    world.observe(4.0)
    world.set_link("b-c", up=False)
    samples = world.observe(8.0)
    assert last(samples, "b-c", Quantity.LINK_UP) == 0.0
    assert last(samples, "one", Quantity.CHAIN_LOSS) == 1.0
    assert not [s for s in samples if s.quantity is Quantity.CHAIN_DELAY and s.at_s > 4.0]
    world.set_link("b-c", up=True)
    assert last(world.observe(12.0), "one", Quantity.CHAIN_LOSS) == 0.0


def test_a_stopped_server_breaks_its_chains_until_they_move() -> None:
    world = world_of(line())
    world.observe(4.0)
    world.set_server("s1", up=False)
    samples = world.observe(8.0)
    assert last(samples, "one", Quantity.CHAIN_LOSS) == 1.0
    assert last(samples, "two", Quantity.CHAIN_LOSS) == 0.0
    world.execute("one.firewall", "s2")
    world.observe(12.0)
    assert last(world.observe(16.0), "one", Quantity.CHAIN_LOSS) == 0.0
    assert world.slots[-1].reward > 0.0


def test_impossible_orders_are_refused_in_one_line() -> None:
    world = world_of(line())
    world.observe(0.0)
    world.set_server("s3", up=False)
    with pytest.raises(InputError, match="s3 is down"):
        world.execute("one.nat", "s3")
    world.execute("one.nat", "s1")
    with pytest.raises(InputError, match="a move is going on"):
        world.execute("two.firewall", "s1")


def test_moving_to_the_same_server_is_no_move() -> None:
    world = world_of(line())
    world.observe(0.0)
    world.execute("one.nat", "s2")
    world.observe(4.0)
    assert world.slots[0].moved == ""
    assert world.slots[0].reward == 0.0


def distorted() -> tuple[Scenario, Scenario]:
    """The file, and a world in which processing takes twice as long."""
    return line(), line(LINE.replace("service_ms: 1", "service_ms: 2").replace("service_ms: 2}", "service_ms: 4}"))


def test_the_world_may_differ_from_the_file() -> None:
    scenario, truth = distorted()
    nominal, real = world_of(scenario), world_of(scenario, truth=truth)
    nominal.observe(4.0)
    real.observe(4.0)
    assert real.slots[0].delay_ms > nominal.slots[0].delay_ms + 1.0


class Pair:
    """One instance of the compiled simulator and a `TwinWorld` that lives through the same."""

    def __init__(self, scenario: Scenario, seed: int, limits: Limits, truth: Scenario | None = None) -> None:
        self.scenario, self.limits = scenario, limits
        self.world = TwinWorld(scenario, seed=seed, noise=EXACT, truth=truth)
        self.builder, self.forecaster = StateBuilder(scenario), PersistenceForecaster()
        self.builder.add(self.world.observe(0.0))
        self.moved: dict[str, float] = {}

    def agrees(self, seen: BatchObservation, b: int) -> None:
        state, scenario = self.builder.build(self.world.now_s), self.scenario
        self.forecaster.observe(state)
        mask = feasible_moves(scenario, state, configured_routes(scenario), self.limits, moved_at_s=self.moved)
        observation = encode(scenario, state, self.forecaster.forecast(3), mask)
        np.testing.assert_array_equal(mask, seen["mask"][b])
        np.testing.assert_allclose(seen["vnf"][b], observation.vnf, atol=1e-5)
        np.testing.assert_allclose(seen["server"][b], observation.server, atol=1e-5)
        np.testing.assert_allclose(seen["pair"][b], observation.pair, atol=1e-5)
        np.testing.assert_allclose(seen["glob"][b], observation.glob, atol=1e-5)

    def live(self, action: int) -> None:
        if action > 0:
            v, s = divmod(action - 1, len(self.scenario.servers))
            vnf = self.scenario.vnfs[v].id
            self.world.execute(vnf, self.scenario.servers[s].id)
            self.moved[vnf] = self.world.now_s
        self.builder.add(self.world.observe(self.world.now_s + self.scenario.period_s))


def random_actions(mask: np.ndarray[tuple[int, int, int], np.dtype[np.bool_]], rng: np.random.Generator) -> list[int]:
    """Half of the time stay, else any feasible move."""
    chosen = []
    for allowed in mask.reshape(len(mask), -1):
        options = np.flatnonzero(allowed)
        chosen.append(int(rng.choice(options)) + 1 if len(options) and rng.random() < 0.5 else 0)
    return chosen


@pytest.mark.parametrize("name", ["line", "small", "medium", "abilene"])
@pytest.mark.parametrize("cooldown_s", [0.0, 11.0])
def test_both_simulators_agree(name: str, cooldown_s: float) -> None:
    scenario = line() if name == "line" else load_scenario(name)
    limits, rng, size = Limits(cooldown_s=cooldown_s), np.random.default_rng(2), 3
    sim = BatchSim(scenario, size, 11, randomise=False, slots=1000, limits=limits)
    pairs, seen = [Pair(scenario, 11 + b, limits) for b in range(size)], sim.reset()
    moves = 0
    for _ in range(60):
        for b, each in enumerate(pairs):
            each.agrees(seen, b)
        actions = random_actions(seen["mask"], rng)
        moves += sum(action > 0 for action in actions)
        seen, reward, _, info = sim.step(np.array(actions))
        for b, (each, action) in enumerate(zip(pairs, actions, strict=True)):
            each.live(action)
            slot = each.world.slots[-1]
            assert info["delay_ms"][b] == pytest.approx(slot.delay_ms, rel=1e-9)
            assert info["delay0_ms"][b] == pytest.approx(slot.delay0_ms, rel=1e-9)
            assert info["energy_j"][b] == pytest.approx(slot.energy_j, rel=1e-9)
            assert info["energy0_j"][b] == pytest.approx(slot.energy0_j, rel=1e-9)
            assert reward[b] == pytest.approx(slot.reward, abs=1e-6)
            assert info["late_chains"][b] == slot.late_chains
            assert info["moved"][b] == (slot.moved != "")
    assert moves > 20


def test_both_simulators_agree_where_the_world_is_not_as_the_file_says() -> None:
    scenario, truth = distorted()
    sim = BatchSim(scenario, 1, 3, randomise=False, slots=1000, truth=truth)
    each, seen = Pair(scenario, 3, Limits(), truth), sim.reset()
    for k in range(30):
        each.agrees(seen, 0)
        action = random_actions(seen["mask"], np.random.default_rng(k))
        seen, _, _, info = sim.step(np.array(action))
        each.live(action[0])
        assert info["delay_ms"][0] == pytest.approx(each.world.slots[-1].delay_ms, rel=1e-9)


def test_a_batch_is_reproducible_and_its_instances_differ() -> None:
    def play(seed: int) -> list[np.ndarray[tuple[int], np.dtype[np.float64]]]:
        sim, rng = BatchSim(load_scenario("small"), 4, seed, slots=8), np.random.default_rng(0)
        seen, played = sim.reset(), []
        for _ in range(20):
            seen, _, _, info = sim.step(np.array(random_actions(seen["mask"], rng)))
            played.append(info["delay_ms"])
        return played

    np.testing.assert_array_equal(play(1), play(1))
    assert (np.array(play(1)) != np.array(play(2))).all()
    assert len(set(play(1)[0])) == 4


def test_episodes_end_by_time_only_and_start_anew() -> None:
    sim = BatchSim(load_scenario("small"), 3, 0, slots=5)
    sim.reset()
    first = sim.hosts
    for k in range(1, 11):
        seen, _, done, info = sim.step(np.zeros(3, dtype=np.int64))
        assert done.all() == (k % 5 == 0)
        final = info["final_obs"]
        assert (final is not None) == (k % 5 == 0)
        if final is not None:
            assert (final["vnf"] != seen["vnf"]).any()
    assert (sim.hosts != first).any()


def _elsewhere(like: BatchObservation) -> BatchObservation:
    return BatchObservation(
        vnf=np.zeros_like(like["vnf"]),
        server=np.zeros_like(like["server"]),
        pair=np.zeros_like(like["pair"]),
        glob=np.zeros_like(like["glob"]),
        mask=np.zeros_like(like["mask"]),
    )


def _same(a: BatchObservation, b: BatchObservation) -> None:
    for one, other in zip(a.values(), b.values(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_seen_can_be_written_elsewhere() -> None:
    """Legal actions, endings and what is kept of a simulator are the same then."""
    scenario, rng = load_scenario("small"), np.random.default_rng(0)
    own, lent, again = (BatchSim(scenario, 3, 0, slots=5) for _ in range(3))
    seen = own.reset()
    lent.reset()
    for k in range(12):
        into = _elsewhere(seen)  # what was shown before stays as it was
        actions = rng.integers(0, 1 + len(scenario.vnfs) * len(scenario.servers), 3)
        seen, reward, done, happened = own.step(actions)
        there, other, ended, there_happened = lent.step(actions, into)
        assert there is into
        _same(seen, there)
        np.testing.assert_array_equal(reward, other)
        np.testing.assert_array_equal(done, ended)
        final, there_final = happened["final_obs"], there_happened["final_obs"]
        assert (final is None) == (there_final is None) == (k % 5 != 4)
        if final is not None and there_final is not None:
            _same(final, there_final)
    _same(again.restore(lent.state()), seen)
    _same(again.step(actions)[0], own.step(actions)[0])


def test_random_placements_are_feasible() -> None:
    scenario = load_scenario("medium")
    sim = BatchSim(scenario, 200, 0)
    sim.reset()
    hosts = sim.hosts
    assert len({tuple(row) for row in hosts}) > 100
    memory = np.array([vnf.type.memory_mb for vnf in scenario.vnfs])
    for row in hosts:
        used = np.bincount(row, weights=memory, minlength=len(scenario.servers))
        assert (used <= [server.memory_mb for server in scenario.servers]).all()


@pytest.mark.parametrize("features", [True, False])
def test_an_illegal_action_stays_and_pays(features: bool) -> None:
    scenario = line()
    sim = BatchSim(scenario, 2, 0, randomise=False, illegal_penalty=0.25, features=features)
    sim.reset()
    same, legal = 1 + 0 * 3 + 0, 1 + 1 * 3 + 2  # firewall to s1, where it is; nat to s3
    _, reward, _, info = sim.step(np.array([same, legal]))
    assert list(info["illegal"]) == [True, False]
    assert list(info["moved"]) == [False, True]
    assert reward[0] == pytest.approx(-0.25)
    np.testing.assert_array_equal(sim.hosts[0], initial_hosts(scenario))


def test_with_and_without_features_the_same_actions_are_legal() -> None:
    scenario, rng = load_scenario("small"), np.random.default_rng(0)
    sims = [BatchSim(scenario, 64, 9, features=features) for features in (True, False)]
    for sim in sims:
        sim.reset()
    for _ in range(40):
        actions = rng.integers(0, 1 + len(scenario.vnfs) * len(scenario.servers), 64)
        (_, with_features, _, one), (_, without, _, two) = (sim.step(actions) for sim in sims)
        np.testing.assert_array_equal(one["illegal"], two["illegal"])
        np.testing.assert_array_equal(with_features, without)


@pytest.mark.parametrize("actions", [[-1, 0], [0, -2], [0, 10], [0], [0, 0, 0]])
def test_actions_that_name_nothing_are_an_error(actions: list[int]) -> None:
    sim = BatchSim(line(), 2, 0)
    sim.reset()
    hosts = sim.hosts
    with pytest.raises(ValueError, match="2 numbers from 0 to 9"):
        sim.step(np.array(actions))
    np.testing.assert_array_equal(sim.hosts, hosts)


def test_a_world_of_other_things_is_an_error() -> None:
    with pytest.raises(ValueError, match="truth must have the servers"):
        BatchSim(line(), 1, 0, truth=load_scenario("small"))


def test_a_true_forecast_is_the_traffic_to_come() -> None:
    text = LINE.replace(
        "{profile: constant, mean_mbps: 4}", "{profile: diurnal, mean_mbps: 4, swing: 0.5, day_s: 60, noise: 0.2}"
    )
    scenario = line(text)
    sim = BatchSim(scenario, 1, 6, randomise=False, forecast_slots=2)
    growth = sim.reset()["vnf"][0, 0, 10]
    before, ahead = sim.offered_mbps[0, 0], []
    for _ in range(2):
        sim.step(np.array([0]))
        ahead.append(sim.offered_mbps[0, 0])
    assert growth == pytest.approx(np.log(np.mean(ahead) / before), abs=1e-4)


def test_a_smoothed_forecast_is_the_one_of_a_live_run() -> None:
    text = LINE.replace(
        "{profile: constant, mean_mbps: 4}", "{profile: diurnal, mean_mbps: 4, swing: 0.5, day_s: 60, noise: 0.2}"
    )
    scenario = line(text)
    sim = BatchSim(scenario, 1, 6, randomise=False, slots=6, smoothing=0.25)
    seen, forecaster = sim.reset(), SmoothedForecaster(weight=0.25)
    for slot in range(9):  # past the time limit, where both begin anew
        if slot % 6 == 0:
            forecaster = SmoothedForecaster(weight=0.25)
        forecaster.observe(state_with(scenario, sim.offered_mbps[0]))
        expected = forecaster.forecast(1).offered_mbps[0, 0]
        assert seen["vnf"][0, 0, 10] == pytest.approx(np.log(expected / sim.offered_mbps[0, 0]), abs=1e-5)
        seen = sim.step(np.array([0]))[0]


def test_an_instance_is_searched_as_its_state_is() -> None:
    scenario = load_scenario("small")
    sim, builder = BatchSim(scenario, 1, 3, randomise=False), StateBuilder(scenario)
    world = TwinWorld(scenario, seed=3, noise=EXACT)
    sim.reset()
    builder.add(world.observe(0.0))
    found, live = sim.search(0), search(scenario, configured_routes(scenario), builder.build(0.0))
    for hosts in (live.seen.hosts, live.settle(live.seen.hosts)):
        assert found.cost(hosts) == pytest.approx(live.cost(hosts), rel=1e-6)
