"""Compiled features: writes the rows that `twin.features` names, in the order in which it names them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from twin.compiled import compiled, inner
from twin.kernels import late_chains, mean_delay_ms, measure, settled_power_w, slowdown1, total
from twin.model import Model, Records, Seen, Work
from twin.move_kernels import trial_moves
from twin.plan_kernels import Plans, emptied, try_plans
from twin.refusal_kernels import cpu_after, memory_after
from twin.state import BoolArray, FloatArray

Float32Array = npt.NDArray[np.float32]
_CLIP = 5.0
_TINY_MBPS = 1e-6
_NO_PLAN = -1.0  # the gain of a plan that is not feasible, and of one that is worse


class Sheets(NamedTuple):
    """The arrays that are written: [V, Fv], [S, Fs], [V, S, Fp], [Fg]."""

    vnf: Float32Array
    server: Float32Array
    pair: Float32Array
    glob: Float32Array


@inner
def clip(value: float) -> float:
    """To ±5; what is not a number is 0."""
    if math.isnan(value):
        return 0.0
    return float(min(max(value, -_CLIP), _CLIP))


@compiled
def model_seen(m: Model, seen: Seen, w: Work) -> float:
    """Measures what was seen, with the load that is not ours: the mean delay in ms.

    That load is what was measured above our own, where it is more than 5 % of a link. After a user roamed, the last
    reading is still of the old way: for one poll the old links seem to carry someone else's load, in both worlds.
    """
    mean_ms, found = measure(m, seen.hosts, seen.offered_mbps, seen.ends, m.quiet, w), False
    for i in range(len(seen.background)):
        rest = seen.link_mbps[i] - w.passed[i].load
        seen.background[i] = rest if rest > 0.05 * m.resources[i].capacity else 0.0
        found = found or seen.background[i] > 0.0
    if found:
        mean_ms = measure(m, seen.hosts, seen.offered_mbps, seen.ends, seen.background, w)
    return mean_ms


@compiled
def write_features(
    m: Model,
    seen: Seen,
    mask: BoolArray,
    changes: Records,
    w: Work,
    spare: Work,
    spare_changes: Records,
    p: Plans,
    out: Sheets,
) -> None:
    """Fills `out`; `w` and `changes` must hold the present placement and the trial of its moves."""
    ahead = False
    for c in range(len(m.chains)):
        ahead = ahead or seen.forecast_mbps[c] != seen.offered_mbps[c]
    _write_pairs(m, seen, changes, w, out.pair)
    if ahead:
        measure(m, seen.hosts, seen.forecast_mbps, seen.ends, seen.background, spare)
        trial_moves(m, seen.hosts, seen.forecast_mbps, seen.ends, spare, spare_changes)
        _write_gain(m, spare_changes, spare, out.pair)
        try_plans(m, seen, seen.forecast_mbps, spare, p)
    else:
        try_plans(m, seen, seen.offered_mbps, w, p)
    _write_plans(m, seen, p, out)
    for s in range(len(m.servers)):
        cores = spare.passed[m.cpu + s].load if ahead else w.passed[m.cpu + s].load
        _write_server(m, seen, w, s, cores, out.server[s])
    mean_mbps = max(total(seen.offered_mbps) / len(m.chains), _TINY_MBPS)
    for v in range(len(m.vnfs)):
        _write_vnf(m, seen, w, v, mean_mbps, out.vnf[v])
    _write_global(m, seen, mask, w, out.glob)


@inner
def _write_pairs(m: Model, seen: Seen, changes: Records, w: Work, pair: Float32Array) -> None:
    mean_ms, power_w = mean_delay_ms(w), settled_power_w(m, w)
    for v in range(len(m.vnfs)):
        host, limit_ms = seen.hosts[v], m.chains[m.vnfs[v].chain].max_delay_ms
        for s in range(len(m.servers)):
            row, change, elsewhere = pair[v, s], changes[v, s], host != s
            delay, power = change.mean_ms / mean_ms, change.power_w / power_w
            row[0] = not elsewhere
            row[1] = clip(delay)
            row[2] = clip(power)
            row[3] = clip(-(m.tau_delay * delay + m.tau_energy * power))
            row[4] = row[3]
            row[5] = clip(change.chain_ms / limit_ms)
            if elsewhere:
                row[6] = clip(cpu_after(m, w, seen, v, s))
                row[7] = clip(memory_after(m, w, seen, v, s))
            else:
                row[6] = clip(seen.servers[s].cores / m.servers[s].cores)
                row[7] = clip(seen.servers[s].memory_mb / m.servers[s].memory_mb)
            row[8] = clip(change.link)
            row[9] = clip(change.detour_ms / limit_ms)
            row[10] = elsewhere and not seen.servers[s].awake
            row[11] = elsewhere and w.servers[host].vnfs == 1


@inner
def _write_gain(m: Model, changes: Records, w: Work, pair: Float32Array) -> None:
    """Gain under the forecast traffic."""
    mean_ms, power_w = mean_delay_ms(w), settled_power_w(m, w)
    for v in range(len(m.vnfs)):
        for s in range(len(m.servers)):
            delay, power = changes[v, s].mean_ms / mean_ms, changes[v, s].power_w / power_w
            pair[v, s, 4] = clip(-(m.tau_delay * delay + m.tau_energy * power))


@inner
def _write_plans(m: Model, seen: Seen, p: Plans, out: Sheets) -> None:
    for s in range(len(m.servers)):
        best = p.emptying[s]
        for to in range(len(m.servers)):
            best = max(best, p.merge[s, to])
        out.server[s, 17] = min(max(best, _NO_PLAN), _CLIP)
    for v in range(len(m.vnfs)):
        host = seen.hosts[v]
        for s in range(len(m.servers)):
            row = out.pair[v, s]
            if s == host:
                row[12], row[13], row[14], row[15] = 0.0, 0.0, 0.0, 0.0
                continue
            row[12] = min(max(p.run[v, s], _NO_PLAN), _CLIP)
            row[13] = min(max(p.merge[host, s], _NO_PLAN), _CLIP)
            row[14] = min(max(emptied(seen.hosts, v, s, p), _NO_PLAN), _CLIP)
            row[15] = max(row[4], row[12], row[13], row[14])


@inner
def _write_server(m: Model, seen: Seen, w: Work, s: int, forecast_cores: float, row: Float32Array) -> None:
    server, read, peak_w = m.servers[s], seen.servers[s], m.greatest_peak_w
    cpu = read.cores / server.cores
    row[0] = read.up
    row[1] = read.awake
    row[2] = w.servers[s].vnfs > 0
    row[3] = clip(cpu)
    row[4] = clip(read.memory_mb / server.memory_mb)
    row[5] = clip(read.power_w / peak_w)
    row[6] = clip(_processing_ms(m, seen, w, s, cpu) / m.mean_limit_ms)
    row[7] = server.core
    row[8] = server.sleep_w / peak_w
    row[9] = server.idle_w / peak_w
    row[10] = (server.peak_w - server.idle_w) / peak_w
    row[11] = clip(server.wake_j / (peak_w * m.period_s))
    row[12] = server.cores / m.most_cores
    row[13] = server.memory_mb / m.most_mb
    row[14] = w.servers[s].vnfs / len(m.vnfs)
    row[15] = clip(forecast_cores / server.cores)
    row[16] = min(read.age / 10.0, 1.0)


@inner
def _processing_ms(m: Model, seen: Seen, w: Work, s: int, cpu: float) -> float:
    """Mean processing delay of the server's VNFs at the utilisation that was read."""
    if w.servers[s].vnfs == 0:
        return 0.0
    service_ms = 0.0
    for v in range(len(m.vnfs)):
        service_ms += m.vnfs[v].service_ms if seen.hosts[v] == s else 0.0
    return float(service_ms / w.servers[s].vnfs * slowdown1(cpu))


@inner
def _write_vnf(m: Model, seen: Seen, w: Work, v: int, mean_mbps: float, row: Float32Array) -> None:
    vnf, c, read = m.vnfs[v], m.vnfs[v].chain, seen.vnfs[v]
    chain, host, offered = m.chains[c], m.servers[seen.hosts[v]], seen.offered_mbps[c]
    length = chain.last - chain.first
    row[0] = clip(read.cores / host.cores)
    row[1] = clip(read.cores / m.mean_cores)
    row[2] = clip(read.memory_mb / host.memory_mb)
    row[3] = (v - chain.first + 1) / (length + 1)
    row[4] = length / 7.0
    row[5] = clip(offered / mean_mbps)
    row[6] = clip(offered / m.mean_link_mbps)
    row[7] = clip(seen.chains[c].delay_ms / chain.max_delay_ms)
    row[8] = clip(w.chains[c].delay_ms / chain.max_delay_ms)
    row[9] = clip(seen.chains[c].loss)
    row[10] = _growth(seen.forecast_mbps[c], offered)
    row[11] = clip(seen.chains[c].spread_mbps / max(offered, _TINY_MBPS))
    row[12] = w.servers[seen.hosts[v]].vnfs == 1
    row[13] = clip(math.log1p(vnf.state_mb) / 5.0)
    row[14] = min(seen.chains[c].age / 10.0, 1.0)


@inner
def _growth(forecast_mbps: float, offered_mbps: float) -> float:
    return clip(math.log((forecast_mbps + _TINY_MBPS) / (offered_mbps + _TINY_MBPS)))


@inner
def _write_global(m: Model, seen: Seen, mask: BoolArray, w: Work, out: FloatArray | Float32Array) -> None:
    servers, vnfs, links, power_w, feasible = len(m.servers), len(m.vnfs), len(seen.link_mbps), 0.0, 0
    out[:] = 0.0
    for s in range(servers):
        read = seen.servers[s]
        cpu = clip(read.cores / m.servers[s].cores)
        power_w += read.power_w
        out[2] += cpu / servers
        out[3] = max(out[3], cpu)
        out[4] += clip(read.memory_mb / m.servers[s].memory_mb) / servers
        out[7] += read.awake / servers
        out[8] += (w.servers[s].vnfs > 0) / servers
        for v in range(vnfs):
            feasible += mask[v, s]
    for i in range(links):
        used = clip(seen.link_mbps[i] / m.resources[i].capacity)
        out[5] += used / links
        out[6] = max(out[6], used)
    out[0] = m.tau_delay
    out[1] = m.tau_energy
    out[9] = clip(mean_delay_ms(w) / m.mean_limit_ms)
    out[10] = late_chains(m, w) / len(m.chains)
    out[11] = clip(power_w / m.all_peaks_w)
    out[12] = _growth(total(seen.forecast_mbps), total(seen.offered_mbps))
    out[13] = feasible / (vnfs * servers)
    out[14] = math.log1p(servers) / 5.0
    out[15] = math.log1p(vnfs) / 5.0
