"""Offered traffic as a pure function of (seed, time): the simulator, the emulator's generators and tests agree on it.

Random parts come from a counter-based generator (splitmix64 of seed, chain, slot), so that any moment can be asked
for in any order. `twin.kernels` computes the same in compiled code. Source: ours (docs/model.md, "Traffic").
"""

from __future__ import annotations

import math
from bisect import bisect_right
from itertools import pairwise

import numpy as np

from twin.scenario import BurstTraffic, ConstantTraffic, DiurnalTraffic, Scenario, TraceTraffic, Traffic
from twin.state import FloatArray

_MASK = (1 << 64) - 1
_TWO_53 = float(1 << 53)


def mean_mbps(traffic: Traffic) -> float:
    """The long-run mean of a profile in Mbit/s; of a trace, the mean over its span."""
    if isinstance(traffic, BurstTraffic):
        share = min(1.0, traffic.length_s / traffic.every_s)
        return traffic.mean_mbps + (traffic.burst_mbps - traffic.mean_mbps) * share
    if isinstance(traffic, TraceTraffic):
        return _trace_mean(traffic.points)
    return traffic.mean_mbps


def _trace_mean(points: tuple[tuple[float, float], ...]) -> float:
    span_s = points[-1][0] - points[0][0]
    if span_s <= 0.0:
        return points[-1][1]
    return sum(mbps * (after_s - at_s) for (at_s, mbps), (after_s, _) in pairwise(points)) / span_s


class TrafficSource:
    """What every chain offers at any time, for one seed."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario
        self.seed = seed

    def offered_mbps(self, t_s: float) -> FloatArray:
        """Offered traffic [C] in Mbit/s at `t_s`, never negative. Noise holds for one control period."""
        slot = math.floor(t_s / self.scenario.period_s)
        values = [
            chain_mbps(chain.traffic, seed=self.seed, chain=c, slot=slot, t_s=t_s)
            for c, chain in enumerate(self.scenario.chains)
        ]
        return np.array(values, dtype=np.float64)


def chain_mbps(traffic: Traffic, *, seed: int, chain: int, slot: int, t_s: float) -> float:
    """Offered traffic of chain number `chain` (its row) in Mbit/s at `t_s`, which lies in control period `slot`."""
    if isinstance(traffic, ConstantTraffic):
        return max(0.0, traffic.mean_mbps)
    if isinstance(traffic, DiurnalTraffic):
        wave = math.sin(2.0 * math.pi * (t_s / traffic.day_s + traffic.phase))
        noise = 1.0 + traffic.noise * _normal(seed, chain, slot)
        return max(0.0, traffic.mean_mbps * (1.0 + traffic.swing * wave) * noise)
    if isinstance(traffic, BurstTraffic):
        bursting = _bursting(traffic, seed, chain, t_s)
        return max(0.0, traffic.burst_mbps if bursting else traffic.mean_mbps)
    row = bisect_right(traffic.points, t_s, key=lambda point: point[0]) - 1
    return max(0.0, traffic.points[max(row, 0)][1])


def _bursting(traffic: BurstTraffic, seed: int, chain: int, t_s: float) -> bool:
    """One burst in each stretch of `every_s`, at a random time that lets it end inside: the mean is exact."""
    stretch = math.floor(t_s / traffic.every_s)
    room_s = max(0.0, traffic.every_s - traffic.length_s)
    start_s = stretch * traffic.every_s + room_s * uniform(seed, chain, stretch, 2)
    return start_s <= t_s < start_s + traffic.length_s


def _normal(seed: int, chain: int, slot: int) -> float:
    """A standard normal number by Box and Muller."""
    radius = math.sqrt(-2.0 * math.log(uniform(seed, chain, slot, 0)))
    return radius * math.cos(2.0 * math.pi * uniform(seed, chain, slot, 1))


def uniform(seed: int, chain: int, slot: int, stream: int) -> float:
    """A number in (0, 1) that depends on nothing but its arguments."""
    word = _mix(_mix(_mix(_mix(seed & _MASK) ^ (chain & _MASK)) ^ (slot & _MASK)) ^ stream)
    return ((word >> 11) + 0.5) / _TWO_53


def _mix(word: int) -> int:
    """One round of splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014)."""
    word = (word + 0x9E3779B97F4A7C15) & _MASK
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _MASK
    return word ^ (word >> 31)
