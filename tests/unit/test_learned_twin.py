"""The learned twin: what it reads, what it computes, and that both forms of its networks are one function."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.small_worlds import line
from twin.bulk import Bulk
from twin.costs import evaluate
from twin.errors import InputError
from twin.learned.calibration import Calibration, calibrate, filled
from twin.learned.digital_twin import DigitalTwin
from twin.learned.fitting import FitConfig, Fitter, frozen
from twin.learned.inputs import CHAIN_INPUTS, CONTEXTS, HEADS, HORIZON, Encoder, expected_awake
from twin.learned.learner import TwinLearner, split
from twin.learned.network import LOSS_WEIGHTS, laplace_loss, mixture_loss, total_loss
from twin.learned.recording import Recording, recordings, simulated_states, wanderer
from twin.learned.vae import fit_vae
from twin.routing import configured_routes
from twin.scenario import Scenario
from twin.scenario_file import load_scenario
from twin.simulator import TwinWorld
from twin.telemetry import EXACT, Noise

SMALL = load_scenario("small")
QUICK = FitConfig(members=2, units=8, window=12, windows=4)


def record(
    scenario: Scenario, *, slots: int = 60, noise: Noise = EXACT, seed: int = 1, truth: Scenario | None = None
) -> Recording:
    world = TwinWorld(scenario, seed=seed, noise=noise, truth=truth)
    (recording,) = recordings(scenario, simulated_states(world, slots, wanderer(scenario, np.random.default_rng(seed))))
    return recording


@pytest.fixture(scope="module")
def recording() -> Recording:
    return record(SMALL, noise=Noise())


@pytest.fixture(scope="module")
def twin(recording: Recording) -> DigitalTwin:
    return TwinLearner(SMALL, seed=3, config=QUICK).fit([recording], rng=np.random.default_rng(0), steps=6)


def test_many_placements_at_once_cost_what_each_costs_alone(recording: Recording) -> None:
    offered = filled(recording.offered_mbps)
    found = Bulk(SMALL).measure(recording.hosts, recording.ends, offered)
    for row in range(0, len(recording), 7):
        costs = evaluate(SMALL, configured_routes(SMALL), recording.hosts[row], offered[row], recording.ends[row])
        np.testing.assert_allclose(found.chain_delay_ms[row], costs.chain_delay_ms, rtol=1e-9)
        bandwidth = np.array([[link.bandwidth_mbps] for link in SMALL.links])
        np.testing.assert_allclose(found.link_mbps[row].reshape(-1, 2) / bandwidth, costs.link_utilisation, atol=1e-9)
        np.testing.assert_allclose(found.cores[row] / [s.cpu_cores for s in SMALL.servers], costs.server_cpu)


def test_what_was_not_read_is_nan_and_counts_nowhere(recording: Recording) -> None:
    silent = record(SMALL, noise=Noise(missing=0.9))
    assert 0.3 < np.isnan(silent.offered_mbps).mean() < 0.95
    sequence = Encoder(SMALL, Calibration.none(SMALL)).sequence(silent)
    assert np.isfinite(sequence.inputs).all()
    read = CHAIN_INPUTS.index("offered_read")
    np.testing.assert_array_equal(sequence.inputs[..., read] == 0.0, np.isnan(silent.offered_mbps))
    target = torch.tensor([[1.0, float("nan")]])
    scale = torch.zeros(1, 2)
    one = laplace_loss(torch.tensor([[0.0, 99.0]]), scale, target)
    assert one == laplace_loss(torch.tensor([[0.0]]), scale[:, :1], target[:, :1])
    assert laplace_loss(scale, scale, torch.full((1, 2), float("nan"))) == 0.0
    values = torch.zeros(1, 2, 9)
    assert torch.isclose(mixture_loss(values, target), mixture_loss(values[:, :1], target[:, :1]))


def test_a_gap_cuts_a_run_in_two() -> None:
    states = list(simulated_states(TwinWorld(SMALL, seed=1), 40, lambda _: None))
    assert [len(r) for r in recordings(SMALL, states)] == [40]
    assert [len(r) for r in recordings(SMALL, [*states[:20], *states[23:]])] == [20, 17]
    assert recordings(SMALL, states[:5]) == []


def test_the_cost_model_alone_tells_what_an_exact_simulator_shows() -> None:
    exact = record(line(), slots=50)
    sequence = Encoder(line(), Calibration.none(line())).sequence(exact)
    for head in ("delay", "server_cpu", "server_memory", "link"):
        assert np.nanmax(np.abs(sequence.targets[head])) < 1e-6, head


def test_who_is_awake_follows_from_the_placement() -> None:
    exact = record(SMALL, slots=80)
    expected = expected_awake(SMALL, exact.hosts, exact.awake[0])
    assert (expected == exact.awake).mean() > 0.99


def test_calibration_finds_what_the_file_has_wrong() -> None:
    hidden = Calibration.none(SMALL)
    factors = np.where([v.type.name == "monitor" for v in SMALL.vnfs], 1.5, 0.7)
    truth = replace(hidden, service_ms=factors, idle_w=np.full(6, 1.3), dynamic_w=np.full(6, 0.6)).apply(SMALL)
    found = calibrate(SMALL, [record(SMALL, slots=120, truth=truth)])
    np.testing.assert_allclose(found.idle_w, 1.3, atol=0.03)
    error = np.abs(found.service_ms - factors)
    assert error.max() < 0.25
    assert error.mean() < 0.1
    assert calibrate(SMALL, [record(SMALL)]).background_mbps.max() == 0.0


def test_memory_is_calibrated_by_type() -> None:
    factors = np.where([v.type.name == "monitor" for v in SMALL.vnfs], 0.05, 0.02)
    truth = replace(Calibration.none(SMALL), memory_mb=factors).apply(SMALL)
    found = calibrate(SMALL, [record(SMALL, slots=60, truth=truth)])
    np.testing.assert_allclose(found.memory_mb, factors, atol=0.002)
    np.testing.assert_allclose(calibrate(SMALL, [record(SMALL)]).memory_mb, 1.0, atol=1e-6)


def test_every_head_has_one_loss_and_one_weight(recording: Recording) -> None:
    sequence = Encoder(SMALL, Calibration.none(SMALL)).sequence(recording)
    losses = Fitter(QUICK, seed=1).fit([[sequence]], steps=1, rng=np.random.default_rng(0))
    assert tuple(losses) == HEADS
    assert set(LOSS_WEIGHTS) == set(HEADS)
    with pytest.raises(AssertionError, match="delay"):
        total_loss({head: torch.zeros(()) for head in HEADS if head != "delay"})


def test_numpy_and_torch_are_one_function(recording: Recording) -> None:
    fitter = Fitter(QUICK, seed=1)
    sequence = Encoder(SMALL, Calibration.none(SMALL)).sequence(recording)
    fitter.fit([[sequence]], steps=3, rng=np.random.default_rng(0))
    function, scale = fitter.function(), fitter.scalers
    hidden = function.run(sequence.inputs)
    for member, network in enumerate(fitter.networks):
        with torch.no_grad():
            theirs = network(torch.tensor(sequence.inputs.transpose(1, 0, 2), dtype=torch.float32))
            ahead = network.traffic_ahead(theirs)[..., :HORIZON].numpy() * scale["traffic_ahead.std"]
        np.testing.assert_allclose(hidden[member].transpose(1, 0, 2), theirs.numpy(), atol=1e-5)
        np.testing.assert_allclose(function.ahead(hidden).middle[member].transpose(1, 0, 2), ahead, atol=1e-5)
        for head, names in CONTEXTS.items():
            context = np.random.default_rng(1).random((len(recording), 4, len(names)))
            with torch.no_grad():
                tensor = torch.tensor(context, dtype=torch.float32)
                middle = network.correction(head, theirs.transpose(0, 1), tensor)[0].numpy()
            ours = function.correction(head, hidden, context).middle[member]
            np.testing.assert_allclose(ours, middle * scale[f"{head}.std"] + scale[f"{head}.mean"], atol=1e-5)


def test_a_twin_comes_back_as_it_was_saved(twin: DigitalTwin, recording: Recording, tmp_path: Path) -> None:
    twin.save(tmp_path / "t.safetensors")
    again = DigitalTwin.load(tmp_path / "t.safetensors", SMALL)
    history = filled(recording.offered_mbps)
    draws = [t.sample_traffic(history, n=8, horizon=3, rng=np.random.default_rng(1)) for t in (twin, again)]
    np.testing.assert_allclose(draws[0], draws[1], rtol=1e-4)
    costs = [t.costs(recording.hosts, recording.ends, history) for t in (twin, again)]
    np.testing.assert_allclose(costs[0].delay_ms, costs[1].delay_ms, rtol=1e-4)
    assert again.hold_out == twin.hold_out
    assert again.slots == twin.slots
    medium = load_scenario("medium")
    other = DigitalTwin.load(tmp_path / "t.safetensors", medium)
    for factor in fields(Calibration):
        np.testing.assert_array_equal(
            getattr(other.calibration, factor.name), getattr(Calibration.none(medium), factor.name)
        )


def test_a_damaged_twin_is_refused(twin: DigitalTwin, tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    twin.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="damaged"):
        DigitalTwin.load(path, SMALL)
    weights = {name: value for name, value in twin.function.weights.items() if name != "delay.1.bias"}
    replace(twin, function=replace(twin.function, weights=weights)).save(path)
    with pytest.raises(InputError, match="wrong shape"):
        DigitalTwin.load(path, SMALL)


def test_the_same_seed_fits_the_same_twin(recording: Recording) -> None:
    twins = [TwinLearner(SMALL, seed=5, config=QUICK).fit([recording], rng=np.random.default_rng(1), steps=2)
             for _ in range(2)]  # fmt: skip
    for name, value in twins[0].function.weights.items():
        np.testing.assert_array_equal(value, twins[1].function.weights[name])


def test_the_order_of_chains_does_not_matter(twin: DigitalTwin, recording: Recording) -> None:
    order = [2, 0, 3, 1]
    turned = replace(SMALL, chains=tuple(SMALL.chains[i] for i in order))
    rows = [SMALL.vnf_index[v.id] for v in turned.vnfs]
    history = filled(recording.offered_mbps)
    other = DigitalTwin(turned, twin.function, Calibration.none(turned))
    same = DigitalTwin(SMALL, twin.function, Calibration.none(SMALL))
    ours = same.costs(recording.hosts, recording.ends, history)
    theirs = other.costs(recording.hosts[:, rows], recording.ends, history[:, order])
    np.testing.assert_allclose(theirs.chain_delay_ms, ours.chain_delay_ms[:, order], rtol=1e-5)
    np.testing.assert_allclose(theirs.power_w, ours.power_w, rtol=1e-5)


def test_drawn_traffic_has_its_shape_and_spread(twin: DigitalTwin, recording: Recording) -> None:
    draws = twin.sample_traffic(recording.offered_mbps, n=7, horizon=5, rng=np.random.default_rng(0))
    assert draws.shape == (7, 5, 4)
    assert np.isfinite(draws).all()
    assert (draws >= 0.0).all()
    assert draws[:, 0].std(axis=0).min() > 0.0
    own = twin.sample_traffic(
        np.stack([filled(recording.offered_mbps)] * 3), n=3, horizon=1, rng=np.random.default_rng(0)
    )
    assert own.shape == (3, 1, 4)
    with pytest.raises(ValueError, match="neither"):
        twin.sample_traffic(recording.offered_mbps[:, :2], n=7, horizon=5, rng=np.random.default_rng(0))


def test_too_little_is_refused_and_runs_are_held_out_whole(recording: Recording) -> None:
    with pytest.raises(InputError, match="too short to learn from: 20 slots in 1 runs"):
        split([recording.part(0, 20)])
    fitted, held_out = split([recording] * 5)
    assert len(fitted) == 4
    assert len(held_out) == 1
    fitted, held_out = split([recording])
    assert len(fitted[0]) + len(held_out[0]) == len(recording)
    assert held_out[0].at_s[0] > fitted[0].at_s[-1]


def test_the_generator_draws_states_like_those_it_saw(recording: Recording) -> None:
    encoder = Encoder(SMALL, Calibration.none(SMALL))
    sequence = encoder.sequence(recording)
    vae = fit_vae(encoder, [sequence], seed=1, rng=np.random.default_rng(0), steps=150)
    twin = DigitalTwin(SMALL, Fitter(QUICK, seed=1).function(), Calibration.none(SMALL), vae=vae)
    drawn = twin.generate(np.repeat(recording.hosts, 4, axis=0), rng=np.random.default_rng(1))
    assert drawn.levels.shape == (240, 4)
    assert drawn.link.shape == (240, 2 * len(SMALL.links))
    spread = sequence.levels.std(axis=0)
    assert (np.abs(drawn.levels.mean(axis=0) - sequence.levels.mean(axis=0)) < spread).all()
    assert (np.abs(drawn.delay_ms.mean(axis=0) / np.nanmean(recording.delay_ms, axis=0) - 1.0) < 0.3).all()
    assert abs(drawn.power_w.mean() / np.nansum(recording.power_w, axis=1).mean() - 1.0) < 0.2
    assert 0.3 < drawn.levels[:, 0].std() / spread[0] < 3.0
    with pytest.raises(ValueError, match="no generator"):
        replace(twin, vae={}).generate(recording.hosts, rng=np.random.default_rng(1))


def test_scalers_stay_but_for_a_head_that_had_nothing_to_learn(twin: DigitalTwin) -> None:
    first = dict(twin.function.scalers) | {"server_memory.std": np.zeros(1, np.float32)}
    found = {name: value + np.float32(1.0) for name, value in first.items()}
    now = frozen(first, found)
    late = {name for name in now if now[name] is found[name]}
    assert late == {"server_memory.mean", "server_memory.std", "server_memory.spread"}
    assert all(now[name] is first[name] for name in now.keys() - late)
    assert frozen({}, found) == found
