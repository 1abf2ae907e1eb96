"""Compiled index of which chains pass which resource, and how much slower each may get before a chain is late.

A move makes some resources slower. Chain d, in time by `room_ms`, that passes `amount` of resource i bears
room_ms / amount of it; the *tightness* of a resource is the greatest amount / room_ms of any chain. Over a move,
Σ rise · tightness of the resources that get slower is its *strain*: up to 1 no chain can become late, whatever
gets faster elsewhere. Only above 1 the chains that pass are looked at one by one (`late_by`).
"""

from __future__ import annotations

from twin.compiled import inner
from twin.costs import UNREACHABLE_MS
from twin.model import Model, Work
from twin.state import IntArray

_NOBODY = -1
_NEVER_MS = 1e300  # the room of a chain that cannot become late: it is late, or no delay is too long for it


@inner
def stop(m: Model, hosts: IntArray, ends: IntArray, c: int, v: int) -> int:
    """The switch of stop v of chain c: a VNF's, or the ingress' before and the egress' after the VNFs."""
    chain = m.chains[c]
    if v < chain.first:
        return int(ends[chain.ingress])
    if v >= chain.last:
        return int(ends[chain.egress])
    return int(m.servers[hosts[v]].switch)


@inner
def take_own(m: Model, hosts: IntArray, ends: IntArray, c: int, w: Work) -> int:
    """What chain c alone passes of every resource into `own`, which must be zero; lists these: how many."""
    chain, count = m.chains[c], 0
    for v in range(chain.first, chain.last + 1):
        at = stop(m, hosts, ends, c, v - 1) * len(m.route_ms) + stop(m, hosts, ends, c, v)
        for k in range(m.route_first[at], m.route_first[at + 1]):
            count = _pass(w, m.route_links[k], chain.packet_kbit, count)
        if v < chain.last:
            count = _pass(w, m.access + hosts[v], chain.packet_kbit, count)
            count = _pass(w, m.cpu + hosts[v], m.vnfs[v].service_ms, count)
    return count


@inner
def _pass(w: Work, i: int, amount: float, count: int) -> int:
    row = w.passed[i]
    if row.own == 0.0:
        w.listed[count] = i
        count += 1
    row.own += amount
    return count


@inner
def drop_own(w: Work, count: int) -> None:
    """`own` is zero again."""
    for k in range(count):
        w.passed[w.listed[k]].own = 0.0


@inner
def index_passers(m: Model, hosts: IntArray, ends: IntArray, w: Work) -> None:
    """Fills the index for the placement that `w` has measured."""
    for i in range(len(w.tight)):
        row = w.tight[i]
        row.passer, row.chain, row.most, row.next = _NOBODY, _NOBODY, 0.0, 0.0
    entered = 0
    for c in range(len(m.chains)):
        chain = w.chains[c]
        limit_ms, chain.late_ms = m.chains[c].max_delay_ms, 0.0
        chain.room_ms = limit_ms - chain.delay_ms
        if chain.room_ms < 0.0 or limit_ms >= UNREACHABLE_MS:
            chain.room_ms = _NEVER_MS
            continue
        count = take_own(m, hosts, ends, c, w)
        for k in range(count):
            _enter(w, w.listed[k], c, entered + k)
        drop_own(w, count)
        entered += count


@inner
def _enter(w: Work, i: int, c: int, at: int) -> None:
    row, passer, amount = w.tight[i], w.passers[at], w.passed[i].own
    passer.next, passer.chain, passer.amount = row.passer, c, amount
    row.passer = at
    tightness = amount / max(w.chains[c].room_ms, 1.0 / _NEVER_MS)
    if tightness > row.most:
        row.chain, row.most, row.next = c, tightness, row.most
    elif tightness > row.next:
        row.next = tightness


@inner
def tightness(w: Work, i: int, c: int) -> float:
    """That of resource i for all chains but c."""
    row = w.tight[i]
    return float(row.next if row.chain == c else row.most)


@inner
def slow(w: Work, i: int, rise_ms: float) -> None:
    """Every chain that passes resource i is later by its amount times this."""
    at = w.tight[i].passer
    while at != _NOBODY:
        passer = w.passers[at]
        w.chains[passer.chain].late_ms += passer.amount * rise_ms
        at = passer.next


@inner
def late_by(w: Work, i: int, c: int) -> bool:
    """Is a chain other than c that passes resource i late by what `slow` added? Forgets what was added to them."""
    at, late = w.tight[i].passer, False
    while at != _NOBODY:
        passer = w.passers[at]
        chain = w.chains[passer.chain]
        late = late or (passer.chain != c and chain.late_ms > chain.room_ms)
        chain.late_ms = 0.0
        at = passer.next
    return late
