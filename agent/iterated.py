"""Iterated local search for the best placement of a state: single moves from where a kick leads, again and again.

A kick disturbs a placement in one of several ways that single moves would not lead to. Where the search then ends
becomes the next start if it is at most `SLACK` worse than the best that is known (record-to-record travel, Dueck
1993): a valley that takes two kicks to leave is left. Source: ours (docs/agent.md, "Refinements").
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from twin.kernels import measure
from twin.model import work
from twin.search import Search
from twin.state import IntArray

SLACK = 0.02  # share of the best cost
_SCATTERED = 3  # VNFs that a kick moves to servers of their own
_GATHERED = 6  # most that it moves to one server
_KICKED_PAIRS = 24_000  # searches per decision times (VNF, server) pairs: about 50 ms


class Target:
    """The best placement known, by iterated local search: improved at every decision and remembered to the next."""

    def __init__(self) -> None:
        self._best: IntArray | None = None

    def improve(self, found: Search, at_s: float, *, kicks: int | None = None) -> IntArray:
        """The best placement [V] for the state; the same state and past give the same one. `kicks` searches are made
        from elsewhere, as many as a decision affords unless said."""
        starts = [found.seen.hosts] if self._best is None else [found.seen.hosts, self._best]
        settled = [found.settle(start, deep=False) for start in starts]
        usable = [settled[0], *(hosts for hosts in settled[1:] if allowed(found, hosts))]
        best = min(usable, key=found.cost)
        searches = kicks_for(found) if kicks is None else kicks
        self._best = kicked(found, best, kicks=searches, rng=np.random.default_rng(max(0, round(at_s))))
        return self._best


def kicks_for(found: Search) -> int:
    """How many searches a decision affords on a network of this size."""
    return max(1, _KICKED_PAIRS // (len(found.model.vnfs) * len(found.model.servers)))


def kicked(found: Search, best: IntArray, *, kicks: int, rng: np.random.Generator) -> IntArray:
    """The best of `best` and of what `kicks` searches find that begin there."""
    cost, servers, now = found.cost(best), len(found.model.servers), best
    for _ in range(kicks):
        kick = _KICKS[rng.integers(len(_KICKS))]
        hosts = found.settle(kick(now, servers, rng), deep=False)
        reached = found.cost(hosts)
        if reached < cost * (1.0 + SLACK) and allowed(found, hosts):
            now = hosts
            if reached < cost:
                best, cost = hosts, reached
    return best


def _scattered(hosts: IntArray, servers: int, rng: np.random.Generator) -> IntArray:
    """Some VNFs on random servers."""
    start = hosts.copy()
    moved = rng.choice(len(start), size=min(_SCATTERED, len(start)), replace=False)
    start[moved] = rng.integers(0, servers, len(moved))
    return start


def _gathered(hosts: IntArray, servers: int, rng: np.random.Generator) -> IntArray:
    """Some VNFs together on one server."""
    start = hosts.copy()
    size = min(int(rng.integers(2, 1 + _GATHERED)), len(start))
    start[rng.choice(len(start), size=size, replace=False)] = rng.integers(servers)
    return start


def _in_a_row(hosts: IntArray, servers: int, rng: np.random.Generator) -> IntArray:
    """Neighbours in the scenario's order, most of them of one chain, together on one server."""
    start = hosts.copy()
    first = int(rng.integers(len(start)))
    start[first : first + int(rng.integers(2, 5))] = rng.integers(servers)
    return start


def _swapped(hosts: IntArray, servers: int, rng: np.random.Generator) -> IntArray:
    """What two servers host exchanged: one that hosts nothing takes the other's place."""
    start, one, other = hosts.copy(), rng.choice(hosts), rng.integers(servers)
    start[hosts == one], start[hosts == other] = other, one
    return start


def _merged(hosts: IntArray, servers: int, rng: np.random.Generator) -> IntArray:
    """All that one server hosts on another, with what that one hosts."""
    start = hosts.copy()
    start[hosts == rng.choice(hosts)] = rng.integers(servers)
    return start


def _emptied(hosts: IntArray, servers: int, rng: np.random.Generator) -> IntArray:
    """What one server hosts on the others that host something."""
    start, hosting = hosts.copy(), np.unique(hosts)
    left = hosts == rng.choice(hosting)
    start[left] = rng.choice(hosting, size=int(left.sum()))
    return start


_KICKS: tuple[Callable[[IntArray, int, np.random.Generator], IntArray], ...] = (
    _scattered, _gathered, _in_a_row, _swapped, _merged, _emptied,
)  # fmt: skip


def allowed(found: Search, hosts: IntArray) -> bool:
    """Does a placement keep all capacities, and every chain in time that is in time now?"""
    m, seen, now, then = found.model, found.seen, work(found.model), work(found.model)
    measure(m, seen.hosts, seen.offered_mbps, seen.ends, seen.background, now)
    measure(m, hosts, seen.offered_mbps, seen.ends, seen.background, then)
    limit = m.chains["max_delay_ms"]
    late = (now.chains["delay_ms"] <= limit) & (then.chains["delay_ms"] > limit)
    return found.fits(hosts) and not bool(late.any())
