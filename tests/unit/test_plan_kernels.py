"""Gains of whole plans against whole evaluations of the placements to which they lead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tests.unit.small_worlds import random_hosts, state_with
from tests.unit.test_features import pair, seen
from twin.costs import evaluate
from twin.features import SERVER_FEATURES, Observation
from twin.routing import configured_routes
from twin.samples import Quantity, Sample
from twin.scenario import Scenario
from twin.scenario_file import load_scenario
from twin.state import IntArray

NO_PLAN = -1.0
FULL = 0.9


class Case:
    """A placement drawn at random on links so wide that queueing on them is nothing, and what any other brings."""

    def __init__(self, name: str, seed: int) -> None:
        file, rng = load_scenario(name), np.random.default_rng(seed)
        self.scenario = replace(file, links=tuple(replace(link, bandwidth_mbps=1e9) for link in file.links))
        self.hosts: IntArray = random_hosts(self.scenario, rng)
        if seed % 2:
            self.hosts = self.hosts // 2  # half of the servers sleep
        self.routes, self.offered = configured_routes(self.scenario), rng.uniform(0.2, 3.0, len(self.scenario.chains))
        host = {
            v.id: Sample(0.0, v.id, Quantity.VNF_HOST, float(h)) for v, h in zip(self.vnfs, self.hosts, strict=True)
        }
        self.state = state_with(self.scenario, self.offered, **host)
        self.now = self.evaluated(self.hosts)

    @property
    def vnfs(self) -> tuple:  # type: ignore[type-arg]
        return self.scenario.vnfs

    def observed(self) -> Observation:
        return seen(self.scenario, self.state)

    def evaluated(self, hosts: IntArray) -> tuple[float, float]:
        found = evaluate(self.scenario, self.routes, hosts, self.offered, self.state.endpoint_switch)
        return found.mean_delay_ms, found.total_power_w

    def gain(self, hosts: IntArray) -> float:
        """Of a placement as a plan's features tell it; `NO_PLAN` at least."""
        then = self.evaluated(hosts)
        worth = sum(0.5 * (1.0 - b / a) for a, b in zip(self.now, then, strict=True))
        return max(worth, NO_PLAN)

    def fits(self, hosts: IntArray, target: int) -> bool:
        rows = np.flatnonzero(hosts == target)
        kinds = [self.vnfs[v].type for v in rows]
        mbps = [self.offered[self.scenario.chain_index[self.vnfs[v].chain]] for v in rows]
        cores = sum(k.cpu_base + k.cpu_per_mbps * o for k, o in zip(kinds, mbps, strict=True))
        server = self.scenario.servers[target]
        return bool(cores <= FULL * server.cpu_cores and sum(k.memory_mb for k in kinds) <= server.memory_mb)

    def moved(self, rows: list[int], target: int) -> IntArray:
        after = self.hosts.copy()
        after[rows] = target
        return after

    def cores(self, rows: list[int]) -> float:
        of = self.scenario.chain_index
        kinds = [(self.vnfs[v].type, self.offered[of[self.vnfs[v].chain]]) for v in rows]
        return float(sum(kind.cpu_base + kind.cpu_per_mbps * mbps for kind, mbps in kinds))


def chain_of(scenario: Scenario, v: int) -> list[int]:
    return [u for u, vnf in enumerate(scenario.vnfs) if vnf.chain == scenario.vnfs[v].chain]


def best_run(case: Case, v: int, target: int) -> float:
    chain, best = chain_of(case.scenario, v), NO_PLAN
    for first in (u for u in chain if u <= v):
        for last in (u for u in chain if u >= v):
            after = case.moved(list(range(first, last + 1)), target)
            if case.fits(after, target):
                best = max(best, case.gain(after))
    return best


def merged(case: Case, v: int, target: int) -> float:
    after = case.moved([int(u) for u in np.flatnonzero(case.hosts == case.hosts[v])], target)
    return case.gain(after) if case.fits(after, target) else NO_PLAN


def blocks(case: Case, host: int) -> list[list[int]]:
    """Runs of one chain that stand together on a server, the hungriest first."""
    found: list[list[int]] = []
    for v in np.flatnonzero(case.hosts == host):
        if found and found[-1][-1] == v - 1 and case.vnfs[v - 1].chain == case.vnfs[v].chain:
            found[-1].append(int(v))
        else:
            found.append([int(v)])
    return sorted(found, key=case.cores, reverse=True)


def emptied(case: Case, host: int) -> IntArray | None:
    """Each block in turn where it does best among servers that host; none where one has no room."""
    after, hosting = case.hosts.copy(), [int(s) for s in np.unique(case.hosts) if s != host]
    for block in blocks(case, host):
        tries = []
        for s in hosting:
            then = after.copy()
            then[block] = s
            if case.fits(then, s):
                tries.append((case.gain(then), s))
        if not tries:
            return None
        after[block] = max(tries)[1]
    return after


@pytest.mark.parametrize(("name", "seed"), [("small", 0), ("small", 1), ("small", 2), ("medium", 4), ("medium", 5)])
@pytest.mark.parametrize(("feature", "expected"), [("run_gain", best_run), ("merge_gain", merged)])
def test_gains_of_plans_are_those_of_the_placements(
    name: str, seed: int, feature: str, expected: Callable[[Case, int, int], float]
) -> None:
    case, finite = Case(name, seed), 0
    found = pair(case.observed(), feature)
    for v in range(0, len(case.vnfs), 5 if name == "medium" else 1):
        for s in range(len(case.scenario.servers)):
            wanted = 0.0 if case.hosts[v] == s else expected(case, v, s)
            assert found[v, s] == pytest.approx(wanted, abs=1e-5), (v, s)
            finite += wanted != NO_PLAN and wanted != 0.0
    assert finite > 3


@pytest.mark.parametrize(("name", "seed"), [("small", 0), ("small", 1), ("small", 3), ("medium", 4), ("medium", 5)])
def test_emptying_a_server_gains_what_the_placement_after_it_does(name: str, seed: int) -> None:
    case, checked = Case(name, seed), 0
    observation = case.observed()
    found, best = pair(observation, "emptying_gain"), observation.server[:, SERVER_FEATURES.index("emptying_gain")]
    for host in np.unique(case.hosts):
        after, rows = emptied(case, int(host)), np.flatnonzero(case.hosts == host)
        if after is None:
            assert (found[rows][:, np.arange(found.shape[1]) != host] == NO_PLAN).all()
            continue
        gains = [found[v, after[v]] for v in rows]
        assert gains == pytest.approx([case.gain(after)] * len(rows), abs=1e-5)
        assert best[host] >= gains[0] - 1e-6
        checked += 1
    assert checked or name == "small"
