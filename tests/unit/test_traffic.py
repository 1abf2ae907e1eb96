"""Offered traffic: shapes, determinism, and agreement of the compiled form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.small_worlds import LINE, line
from twin.fast import BatchSim
from twin.scenario import BurstTraffic, ConstantTraffic, DiurnalTraffic, TraceTraffic, Traffic
from twin.scenario_file import load_scenario
from twin.tables import endpoint_switches
from twin.traffic import TrafficSource, chain_mbps, mean_mbps, uniform
from twin.traffic_kernels import locate, offer, profiles

TRACE = TraceTraffic(Path("x.csv"), ((0.0, 1.0), (10.0, 3.0), (40.0, 5.0)))


def at(traffic: Traffic, t_s: float, seed: int = 1) -> float:
    return chain_mbps(traffic, seed=seed, chain=0, slot=int(t_s // 4), t_s=t_s)


def test_constant_traffic_is_its_mean() -> None:
    assert at(ConstantTraffic(3.0), 17.0) == 3.0


def test_a_day_rises_and_falls_by_its_swing() -> None:
    day = DiurnalTraffic(mean_mbps=4.0, swing=0.5, day_s=100.0)
    assert [at(day, t) for t in (0.0, 25.0, 75.0)] == pytest.approx([4.0, 6.0, 2.0])


def test_phase_is_a_share_of_the_day() -> None:
    assert at(DiurnalTraffic(4.0, 0.5, 100.0, phase=0.25), 0.0) == pytest.approx(6.0)


def test_noise_is_never_negative_and_holds_for_a_period() -> None:
    noisy = DiurnalTraffic(4.0, 0.0, 100.0, noise=2.0)
    values = [at(noisy, 4.0 * k) for k in range(400)]
    assert min(values) == 0.0
    assert at(noisy, 8.0) == at(noisy, 11.9) != at(noisy, 12.0)


def test_noise_has_the_stated_spread() -> None:
    values = np.array([at(DiurnalTraffic(1.0, 0.0, 100.0, noise=0.1), 4.0 * k) for k in range(4000)])
    assert values.mean() == pytest.approx(1.0, abs=0.01)
    assert values.std() == pytest.approx(0.1, rel=0.05)


def test_bursts_come_once_in_each_stretch_and_have_the_stated_mean() -> None:
    bursts = BurstTraffic(mean_mbps=1.0, burst_mbps=5.0, every_s=40.0, length_s=10.0)
    values = np.array([at(bursts, t / 10) for t in range(40_000)])
    assert set(values) == {1.0, 5.0}
    assert (np.diff(values) > 0).sum() == pytest.approx(100, abs=1)
    assert values.mean() == pytest.approx(mean_mbps(bursts), rel=0.01) == pytest.approx(2.0, rel=0.01)


def test_bursts_are_at_other_times_for_another_seed() -> None:
    bursts = BurstTraffic(1.0, 5.0, 40.0, 10.0)
    first, second = ([at(bursts, t, seed) for t in range(400)] for seed in (1, 2))
    assert first != second


@pytest.mark.parametrize(("t_s", "mbps"), [(-5.0, 1.0), (0.0, 1.0), (9.9, 1.0), (10.0, 3.0), (99.0, 5.0)])
def test_a_trace_is_steps(t_s: float, mbps: float) -> None:
    assert at(TRACE, t_s) == mbps


def test_the_mean_of_a_trace_is_weighted_by_time() -> None:
    assert mean_mbps(TRACE) == pytest.approx((10 * 1.0 + 30 * 3.0) / 40)
    assert mean_mbps(TraceTraffic(Path("x"), ((3.0, 7.0),))) == 7.0


def test_any_moment_can_be_asked_for_in_any_order() -> None:
    source, again = (TrafficSource(load_scenario("small"), 5) for _ in range(2))
    times = [40.0, 2.0, 100.0, 2.0]
    forward = {t: source.offered_mbps(t) for t in times}
    for t in reversed(times):
        np.testing.assert_array_equal(again.offered_mbps(t), forward[t])


def test_numbers_are_uniform_and_differ_by_every_argument() -> None:
    values = np.array([uniform(1, 0, slot, 0) for slot in range(5000)])
    assert values.mean() == pytest.approx(0.5, abs=0.02)
    assert len({uniform(1, 2, 3, 0), uniform(2, 2, 3, 0), uniform(1, 3, 3, 0), uniform(1, 2, 4, 0)}) == 4


@pytest.mark.parametrize("name", ["small", "medium", "abilene"])
@pytest.mark.parametrize("seed", [0, 7, -3, 2**62])
def test_the_compiled_form_agrees(name: str, seed: int) -> None:
    scenario = load_scenario(name)
    source, arrays = TrafficSource(scenario, seed), profiles(scenario)
    offered, scale = np.zeros(len(scenario.chains)), np.full(len(scenario.chains), 0.5)
    for t_s in np.random.default_rng(0).uniform(-500, 3000, 100):
        offer(arrays, seed, scale, t_s, offered)
        np.testing.assert_allclose(offered, 0.5 * source.offered_mbps(t_s), rtol=1e-12)


def test_the_compiled_form_reads_traces_too(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("time_s,chain,mbps\n0,one,1\n10,one,3\n40,one,5\n")
    text = LINE.replace("{profile: constant, mean_mbps: 4}", "{profile: trace, file: t.csv}")
    (tmp_path / "line.yaml").write_text(text)
    scenario = load_scenario(tmp_path / "line.yaml")
    offered = np.zeros(2)
    for t_s in (-5.0, 0.0, 9.9, 10.0, 99.0):
        offer(profiles(scenario), 1, np.ones(2), t_s, offered)
        np.testing.assert_array_equal(offered, TrafficSource(scenario, 1).offered_mbps(t_s))


def test_endpoints_roam_at_their_times() -> None:
    scenario = line(LINE + "moves: [{endpoint: u, at_s: 20, to: c}, {endpoint: u, at_s: 8, to: b}]\n")
    for t_s, switch in ((0.0, 0), (7.9, 0), (8.0, 1), (19.0, 1), (20.0, 2), (500.0, 2)):
        ends = np.zeros(2, dtype=np.int64)
        locate(profiles(scenario), t_s, ends)
        assert list(ends) == list(endpoint_switches(scenario, t_s)) == [switch, 2]


def test_a_batch_is_offered_the_same(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("time_s,chain,mbps\n0,one,1\n10,one,3\n40,one,5\n")
    text = LINE.replace("{profile: constant, mean_mbps: 4}", "{profile: trace, file: t.csv}")
    (tmp_path / "line.yaml").write_text(text)
    for scenario in (load_scenario(tmp_path / "line.yaml"), load_scenario("small"), load_scenario("medium")):
        sim, sources = BatchSim(scenario, 5, 2**62, randomise=False, features=False), range(2**62, 2**62 + 5)
        sim.reset()
        for slot in range(30):
            sim.step(np.zeros(5, dtype=np.int64))
            at_s = (slot + 0.5) * scenario.period_s
            offered = [TrafficSource(scenario, seed).offered_mbps(at_s) for seed in sources]
            np.testing.assert_allclose(sim.offered_mbps, offered, rtol=1e-12)
