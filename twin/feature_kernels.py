"""Compiled features: writes the rows that `twin.features` names, in the order in which it names them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from twin.compiled import compiled
from twin.kernels import measure, settled_power_w, slowdown1
from twin.model import Model, Work
from twin.move_kernels import CHAIN_MS, DETOUR_MS, LINK, MEAN_MS, POWER_W, trial_moves
from twin.refusal_kernels import Readings, cpu_after, memory_after
from twin.state import BoolArray, FloatArray, IntArray

Float32Array = npt.NDArray[np.float32]
_CLIP = 5.0
_TINY_MBPS = 1e-6


class Observed(NamedTuple):
    """What the features need of a state and a forecast, besides `Readings`."""

    awake: BoolArray  # [S]
    power_w: FloatArray  # [S]
    server_age: FloatArray  # [S] in periods
    link_mbps: FloatArray  # [2L] measured
    chain_ms: FloatArray  # [C] measured
    chain_loss: FloatArray  # [C]
    chain_age: FloatArray  # [C] in periods
    forecast_mbps: FloatArray  # [C]
    spread_mbps: FloatArray  # [C]


class Sheets(NamedTuple):
    """The arrays that are written: [V, Fv], [S, Fs], [V, S, Fp], [Fg]."""

    vnf: Float32Array
    server: Float32Array
    pair: Float32Array
    glob: Float32Array


@compiled
def clip(value: float) -> float:
    """To ±5; what is not a number is 0."""
    if math.isnan(value):
        return 0.0
    return min(max(value, -_CLIP), _CLIP)


@compiled
def write_features(
    m: Model,
    hosts: IntArray,
    offered_mbps: FloatArray,
    ends: IntArray,
    background: FloatArray,
    read: Readings,
    seen: Observed,
    mask: BoolArray,
    changes: FloatArray,
    w: Work,
    spare: Work,
    spare_changes: FloatArray,
    out: Sheets,
) -> None:
    """Fills `out`; `w` and `changes` must hold the present placement and the trial of its moves."""
    mean_ms = _mean_delay(w)
    power_w = settled_power_w(m, w)
    ahead = False
    for c in range(len(offered_mbps)):
        ahead = ahead or seen.forecast_mbps[c] != offered_mbps[c]
    _write_pairs(m, hosts, offered_mbps, read, seen, changes, w, mean_ms, power_w, out.pair)
    if ahead:
        ahead_ms = measure(m, hosts, seen.forecast_mbps, ends, background, spare)
        trial_moves(m, hosts, seen.forecast_mbps, ends, 1e300, spare, spare_changes)
        _write_gain(m, spare_changes, ahead_ms, settled_power_w(m, spare), out.pair)
        _write_servers(m, hosts, read, seen, w, spare, out.server)
    else:
        _write_servers(m, hosts, read, seen, w, w, out.server)
    _write_vnfs(m, hosts, offered_mbps, read, seen, w, out.vnf)
    _write_global(m, offered_mbps, read, seen, mask, w, mean_ms, out.glob)


@compiled
def _mean_delay(w: Work) -> float:
    mean_ms = 0.0
    for c in range(len(w.chain_ms)):
        mean_ms += w.chain_ms[c] * w.weight[c]
    return mean_ms


@compiled
def _write_pairs(
    m: Model,
    hosts: IntArray,
    offered_mbps: FloatArray,
    read: Readings,
    seen: Observed,
    changes: FloatArray,
    w: Work,
    mean_ms: float,
    power_w: float,
    pair: Float32Array,
) -> None:
    t = m.t
    for v in range(len(hosts)):
        h, limit_ms = hosts[v], t.max_delay_ms[t.vnf_chain[v]]
        for s in range(len(w.hosted)):
            row, change, elsewhere = pair[v, s], changes[v, s], hosts[v] != s
            delay, power = change[MEAN_MS] / mean_ms, change[POWER_W] / power_w
            row[0] = not elsewhere
            row[1] = clip(delay)
            row[2] = clip(power)
            row[3] = clip(-(t.tau_delay * delay + t.tau_energy * power))
            row[4] = row[3]
            row[5] = clip(change[CHAIN_MS] / limit_ms)
            if elsewhere:
                row[6] = clip(cpu_after(m, w, read, offered_mbps, v, s))
                row[7] = clip(memory_after(m, w, read, v, s))
            else:
                row[6] = clip(read.server_cores[s] / t.cpu_cores[s])
                row[7] = clip(read.server_memory_mb[s] / t.memory_mb[s])
            row[8] = clip(change[LINK])
            row[9] = clip(change[DETOUR_MS] / limit_ms)
            row[10] = elsewhere and not seen.awake[s]
            row[11] = elsewhere and w.hosted[h] == 1


@compiled
def _write_gain(m: Model, changes: FloatArray, mean_ms: float, power_w: float, pair: Float32Array) -> None:
    """Gain under the forecast traffic."""
    for v in range(changes.shape[0]):
        for s in range(changes.shape[1]):
            delay, power = changes[v, s, MEAN_MS] / mean_ms, changes[v, s, POWER_W] / power_w
            pair[v, s, 4] = clip(-(m.t.tau_delay * delay + m.t.tau_energy * power))


@compiled
def _write_servers(
    m: Model, hosts: IntArray, read: Readings, seen: Observed, w: Work, ahead: Work, server: Float32Array
) -> None:
    t = m.t
    peak_w, limit_ms = t.peak_w.max(), t.max_delay_ms.mean()
    most_cores, most_mb = t.cpu_cores.max(), t.memory_mb.max()
    for s in range(len(w.hosted)):
        row, cpu = server[s], read.server_cores[s] / t.cpu_cores[s]
        row[0] = read.server_up[s]
        row[1] = seen.awake[s]
        row[2] = w.hosted[s] > 0
        row[3] = clip(cpu)
        row[4] = clip(read.server_memory_mb[s] / t.memory_mb[s])
        row[5] = clip(seen.power_w[s] / peak_w)
        row[6] = clip(_processing_ms(m, hosts, w, s, cpu) / limit_ms)
        row[7] = t.server_core[s]
        row[8], row[9] = t.sleep_w[s] / peak_w, t.idle_w[s] / peak_w
        row[10] = (t.peak_w[s] - t.idle_w[s]) / peak_w
        row[11] = clip(t.wake_j[s] / (peak_w * t.period_s))
        row[12], row[13] = t.cpu_cores[s] / most_cores, t.memory_mb[s] / most_mb
        row[14] = w.hosted[s] / len(hosts)
        row[15] = clip(ahead.load[m.first_cpu + s] / t.cpu_cores[s])
        row[16] = min(seen.server_age[s] / 10.0, 1.0)


@compiled
def _processing_ms(m: Model, hosts: IntArray, w: Work, s: int, cpu: float) -> float:
    """Mean processing delay of the server's VNFs at the utilisation that was read."""
    if w.hosted[s] == 0:
        return 0.0
    return float(m.t.service_ms[hosts == s].mean() * slowdown1(cpu))


@compiled
def _write_vnfs(
    m: Model,
    hosts: IntArray,
    offered_mbps: FloatArray,
    read: Readings,
    seen: Observed,
    w: Work,
    vnf: Float32Array,
) -> None:
    t = m.t
    mean_mbps = max(offered_mbps.mean(), _TINY_MBPS)
    link_mbps = t.bandwidth_mbps.mean() if len(t.bandwidth_mbps) > 0 else t.access_mbps
    mean_cores = t.cpu_cores.mean()
    for v in range(len(hosts)):
        row, c, h = vnf[v], t.vnf_chain[v], hosts[v]
        length = t.chain_first[c + 1] - t.chain_first[c]
        row[0] = clip(read.vnf_cores[v] / t.cpu_cores[h])
        row[1] = clip(read.vnf_cores[v] / mean_cores)
        row[2] = clip(read.vnf_memory_mb[v] / t.memory_mb[h])
        row[3] = (v - t.chain_first[c] + 1) / (length + 1)
        row[4] = length / 7.0
        row[5] = clip(offered_mbps[c] / mean_mbps)
        row[6] = clip(offered_mbps[c] / link_mbps)
        row[7] = clip(seen.chain_ms[c] / t.max_delay_ms[c])
        row[8] = clip(w.chain_ms[c] / t.max_delay_ms[c])
        row[9] = clip(seen.chain_loss[c])
        row[10] = _growth(seen.forecast_mbps[c], offered_mbps[c])
        row[11] = clip(seen.spread_mbps[c] / max(offered_mbps[c], _TINY_MBPS))
        row[12] = w.hosted[h] == 1
        row[13] = clip(math.log1p(t.state_mb[v]) / 5.0)
        row[14] = min(seen.chain_age[c] / 10.0, 1.0)


@compiled
def _growth(forecast_mbps: float, offered_mbps: float) -> float:
    return clip(math.log((forecast_mbps + _TINY_MBPS) / (offered_mbps + _TINY_MBPS)))


@compiled
def _write_global(
    m: Model,
    offered_mbps: FloatArray,
    read: Readings,
    seen: Observed,
    mask: BoolArray,
    w: Work,
    mean_ms: float,
    out: Float32Array,
) -> None:
    t, late = m.t, 0
    cpu = read.server_cores / t.cpu_cores
    for c in range(len(w.chain_ms)):
        late += w.chain_ms[c] > t.max_delay_ms[c]
    out[0], out[1] = t.tau_delay, t.tau_energy
    out[2], out[3] = clip(cpu.mean()), clip(cpu.max())
    out[4] = clip((read.server_memory_mb / t.memory_mb).mean())
    out[5], out[6] = 0.0, 0.0
    links = len(seen.link_mbps)
    for i in range(links):
        used = seen.link_mbps[i] / m.capacity[i]
        out[5] += clip(used) / links
        out[6] = max(out[6], clip(used))
    out[7], out[8] = seen.awake.mean(), (w.hosted > 0).mean()
    out[9] = clip(mean_ms / t.max_delay_ms.mean())
    out[10] = late / len(w.chain_ms)
    out[11] = clip(seen.power_w.sum() / t.peak_w.sum())
    out[12] = _growth(seen.forecast_mbps.sum(), offered_mbps.sum())
    out[13] = mask.mean()
    out[14], out[15] = math.log1p(len(w.hosted)) / 5.0, math.log1p(mask.shape[0]) / 5.0


@compiled
def find_background(m: Model, w: Work, measured_mbps: FloatArray, background: FloatArray) -> bool:
    """Load that is not ours [2L]: what was measured above our own, where that is more than 5 % of the link.

    True where there is any. After a user roamed, the last reading is still of the old way: for one poll the old links
    seem to carry someone else's load, in both worlds.
    """
    found = False
    for i in range(len(background)):
        rest = measured_mbps[i] - w.load[i]
        background[i] = rest if rest > 0.05 * m.capacity[i] else 0.0
        found = found or background[i] > 0.0
    return found
