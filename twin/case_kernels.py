"""Compiled: the chains' delays of many cases at once, for `twin.identification`."""

from __future__ import annotations

from twin.compiled import compiled
from twin.kernels import measure
from twin.model import Model, Work
from twin.state import FloatArray, IntArray


@compiled
def chain_delays(
    m: Model, hosts: IntArray, offered_mbps: FloatArray, ends: IntArray, w: Work, out_ms: FloatArray
) -> None:
    """Delay [N, C] of placements [N, V] under traffic [N, C] with endpoints at [N, E]."""
    for n in range(len(hosts)):
        measure(m, hosts[n], offered_mbps[n], ends[n], m.quiet, w)
        for c in range(len(m.chains)):
            out_ms[n, c] = w.chains[c].delay_ms
