"""Compiled form of `twin.traffic`, and of where endpoints are; tests hold both together."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from twin.compiled import compiled, inner
from twin.scenario import BurstTraffic, ConstantTraffic, DiurnalTraffic, Scenario, Traffic
from twin.state import FloatArray, IntArray
from twin.tables import configured_switches
from twin.traffic import mean_mbps

_CONSTANT, DIURNAL, _BURSTS, _TRACE = 0, 1, 2, 3


class Profiles(NamedTuple):
    """All chains' profiles and all roams as arrays."""

    period_s: float
    kind: IntArray  # [C]
    values: FloatArray  # [C, 5] as in the profile's dataclass
    mean_mbps: FloatArray  # [C]
    trace_first: IntArray  # [C + 1]
    trace_s: FloatArray
    trace_mbps: FloatArray
    home: IntArray  # [E] switch before any roam
    roam_s: FloatArray  # [M] ascending
    roam_endpoint: IntArray  # [M]
    roam_switch: IntArray  # [M]


def profiles(scenario: Scenario) -> Profiles:
    """The scenario's traffic and roams."""
    rows = [_row(chain.traffic) for chain in scenario.chains]
    points = [getattr(chain.traffic, "points", ()) for chain in scenario.chains]
    trace = np.array([point for chain in points for point in chain], dtype=np.float64).reshape(-1, 2)
    roams = sorted(scenario.moves, key=lambda move: move.at_s)
    return Profiles(
        period_s=float(scenario.period_s),
        kind=np.array([kind for kind, _ in rows], dtype=np.int64),
        values=np.array([[*values, *[0.0] * (5 - len(values))] for _, values in rows], dtype=np.float64),
        mean_mbps=np.array([mean_mbps(chain.traffic) for chain in scenario.chains], dtype=np.float64),
        trace_first=np.cumsum([0, *(len(chain) for chain in points)]).astype(np.int64),
        trace_s=trace[:, 0].copy(),
        trace_mbps=trace[:, 1].copy(),
        home=configured_switches(scenario),
        roam_s=np.array([move.at_s for move in roams], dtype=np.float64),
        roam_endpoint=np.array([scenario.endpoint_index[move.endpoint] for move in roams], dtype=np.int64),
        roam_switch=np.array([scenario.switch_index[move.to] for move in roams], dtype=np.int64),
    )


def _row(traffic: Traffic) -> tuple[int, list[float]]:
    if isinstance(traffic, ConstantTraffic):
        return _CONSTANT, [traffic.mean_mbps]
    if isinstance(traffic, DiurnalTraffic):
        return DIURNAL, [traffic.mean_mbps, traffic.swing, traffic.day_s, traffic.noise, traffic.phase]
    if isinstance(traffic, BurstTraffic):
        return _BURSTS, [traffic.mean_mbps, traffic.burst_mbps, traffic.every_s, traffic.length_s]
    return _TRACE, []


@inner
def mix(word: np.uint64) -> np.uint64:
    word = word + np.uint64(0x9E3779B97F4A7C15)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


@inner
def uniform(seed: int, chain: int, slot: int, stream: int) -> float:
    """A number in (0, 1) that depends on nothing but its arguments; the same as `twin.traffic.uniform`."""
    word = mix(mix(np.uint64(seed)) ^ np.uint64(chain))
    word = mix(mix(word ^ np.uint64(slot)) ^ np.uint64(stream))
    return (float(word >> np.uint64(11)) + 0.5) / 9007199254740992.0


@inner
def normal(seed: int, chain: int, slot: int, stream: int) -> float:
    """A standard normal number from streams `stream` and `stream + 1`."""
    radius = math.sqrt(-2.0 * math.log(uniform(seed, chain, slot, stream)))
    return radius * math.cos(2.0 * math.pi * uniform(seed, chain, slot, stream + 1))


@compiled
def offer(p: Profiles, seed: int, scale: FloatArray, t_s: float, out: FloatArray) -> None:
    """Offered traffic [C] in Mbit/s at `t_s`, times `scale` [C]."""
    for c in range(len(out)):
        out[c] = max(0.0, mbps_at(p, seed, c, t_s)) * scale[c]


@inner
def mbps_at(p: Profiles, seed: int, c: int, t_s: float) -> float:
    """What chain c's profile says for `t_s`, less than zero also."""
    value = p.values[c]
    mbps = value[0]
    if p.kind[c] == DIURNAL:
        wave = math.sin(2.0 * math.pi * (t_s / value[2] + value[4]))
        slot = math.floor(t_s / p.period_s)
        noise = 1.0 if value[3] == 0.0 else 1.0 + value[3] * normal(seed, c, slot, 0)
        mbps = value[0] * (1.0 + value[1] * wave) * noise
    elif p.kind[c] == _BURSTS:
        stretch = math.floor(t_s / value[2])
        start_s = stretch * value[2] + max(0.0, value[2] - value[3]) * uniform(seed, c, stretch, 2)
        if start_s <= t_s < start_s + value[3]:
            mbps = value[1]
    elif p.kind[c] == _TRACE:
        first, last = p.trace_first[c], p.trace_first[c + 1]
        row = np.searchsorted(p.trace_s[first:last], t_s, side="right") - 1
        mbps = p.trace_mbps[first + max(row, 0)]
    return float(mbps)


@inner
def roams(p: Profiles, slot: int) -> bool:
    """Does a user roam at the start of this slot, or between it and the start of the one before?"""
    before_s, now_s, found = (slot - 1) * p.period_s, slot * p.period_s, False
    for i in range(len(p.roam_s)):
        found = found or before_s < p.roam_s[i] <= now_s
    return found


@compiled
def locate(p: Profiles, t_s: float, ends: IntArray) -> None:
    """The switch of every endpoint [E] at `t_s`."""
    for e in range(len(ends)):
        ends[e] = p.home[e]
    for i in range(len(p.roam_s)):
        if p.roam_s[i] <= t_s:
            ends[p.roam_endpoint[i]] = p.roam_switch[i]
