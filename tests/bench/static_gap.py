"""How far from the best placement policies end on many small networks with constant traffic.

    python -m tests.bench.static_gap [--instances N] [--prove N] [--policy P] [--flat]

The gap is of τ1·D/D0 + τ2·P/P0 of the placement where a way ends, over the best that any way found on that network;
`--prove N` lets HiGHS prove the optimum of the first N (to 1e-4). A policy is asked again and again until it stays, at
most `MOST` times, a period apart, always with exact readings. `--flat`: networks where search is easy
(`tests.bench.small_cases.flat_instance`).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table

from agent.a2c_policy import named_policy
from agent.decision import Move, Policy, View
from agent.iterated import kicked
from agent.optimum import optimum
from tests.bench.small_cases import flat_instance, static_instance
from twin.feasibility import feasible_moves
from twin.forecast import Forecast
from twin.routing import Routes, configured_routes
from twin.scenario import Scenario
from twin.search import Search, search
from twin.simulator import TwinWorld
from twin.state import IntArray, NetworkState, StateBuilder, placed
from twin.telemetry import EXACT

MOST = 40
KICKED, PROVEN = "local search, kicked 1,000 times", "proven"


def state_of(scenario: Scenario) -> NetworkState:
    """What one exact poll of the scenario shows."""
    world, builder = TwinWorld(scenario, seed=1, noise=EXACT), StateBuilder(scenario)
    builder.add(world.observe(0.0))
    return builder.build(0.0)


def settle(scenario: Scenario, routes: Routes, state: NetworkState, policy: Policy) -> IntArray:
    """Where the policy leaves the VNFs once it stays."""
    for _ in range(MOST):
        offered = state.offered_mbps[None]
        mask = feasible_moves(scenario, state, routes)
        decision = policy.decide(View(scenario, state, Forecast(offered, np.zeros_like(offered), "exact"), mask))
        if not isinstance(decision, Move):
            break
        hosts = state.vnf_server.copy()
        hosts[scenario.vnf_index[decision.vnf]] = scenario.server_index[decision.target]
        state = _moved(scenario, state, hosts)
    return state.vnf_server


def _moved(scenario: Scenario, state: NetworkState, hosts: IntArray) -> NetworkState:
    """The same network a period later with the VNFs there, read exactly."""
    from dataclasses import replace

    from twin.costs import vnf_cpu_cores
    from twin.tables import tables

    names = {vnf.id: scenario.servers[s].id for vnf, s in zip(scenario.vnfs, hosts, strict=True)}
    after, t = placed(scenario, state, names), tables(scenario)
    cores = np.bincount(hosts, weights=vnf_cpu_cores(scenario, state.offered_mbps), minlength=len(t.cpu_cores))
    memory = np.bincount(hosts, weights=t.vnf_memory_mb, minlength=len(t.cpu_cores))
    quiet = np.zeros_like(state.link_load_mbps)
    return replace(
        after, at_s=state.at_s + scenario.period_s, server_cpu=cores / t.cpu_cores,
        server_memory=memory / t.memory_mb, awake=after.hosting, link_load_mbps=quiet,
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=50, metavar="N")
    parser.add_argument("--prove", type=int, default=0, metavar="N", help="prove the first N by HiGHS, ~20 s each (0)")
    parser.add_argument("--policy", default="generic", metavar="P", help="a trained policy (generic)")
    parser.add_argument("--flat", action="store_true", help="networks where search is easy")
    arguments = parser.parse_args()
    instance = flat_instance if arguments.flat else static_instance
    gaps: dict[str, list[float]] = {}
    times: dict[str, list[float]] = {}
    for seed in range(arguments.instances):
        scenario = instance(seed)
        state, routes = state_of(scenario), configured_routes(scenario)
        found = search(scenario, routes, state)
        ends: dict[str, IntArray] = {}
        for name, way in _ways(scenario, routes, state, found, arguments.policy, seed).items():
            began = time.process_time()
            ends[name] = way()
            times.setdefault(name, []).append(time.process_time() - began)
        if seed < arguments.prove:
            ends[PROVEN] = optimum(found).hosts
            best = found.cost(ends[KICKED]) / found.cost(ends[PROVEN]) - 1.0
            print(f"network {seed}: {KICKED} {best:.4%} above the proven optimum", flush=True)
        least = min(found.cost(hosts) for hosts in ends.values())
        for name in times:
            gaps.setdefault(name, []).append(found.cost(ends[name]) / least - 1.0)
        print(f"{seed + 1}/{arguments.instances}", end="\r", file=sys.stderr, flush=True)
    Console(width=110).print(_table(gaps, times))
    return 0


def _ways(
    scenario: Scenario, routes: Routes, state: NetworkState, found: Search, policy: str, seed: int
) -> dict[str, Callable[[], IntArray]]:
    def played(name: str) -> Callable[[], IntArray]:
        return lambda: settle(scenario, routes, state, named_policy(name, scenario, seed=seed))

    return {
        "never migrate": lambda: found.seen.hosts,
        "greedy": played("greedy"),
        "local search, 1 move": lambda: found.settle(found.seen.hosts, deep=False),
        "local search, 2 moves": lambda: found.settle(found.seen.hosts),
        KICKED: lambda: kicked(found, found.settle(found.seen.hosts), kicks=1000, rng=np.random.default_rng(seed)),
        f"{policy} alone": played(policy),
        f"{policy} polished": played(f"{policy}+polish"),
        f"{policy} with look-ahead": played(f"{policy}+look-ahead"),
    }


def _table(gaps: dict[str, list[float]], times: dict[str, list[float]]) -> Table:
    table = Table("method", "mean gap", "median", "p95", "worst", "CPU ms, median")
    table.title = f"gap to the best known, {len(gaps['never migrate'])} networks of 8 servers and 4 x 3 VNFs"
    for name, found in gaps.items():
        row = np.array(found)
        figures = (row.mean(), np.median(row), np.percentile(row, 95), row.max())
        table.add_row(name, *(f"{figure:.3%}" for figure in figures), f"{1e3 * np.median(times[name]):.2f}")
    return table


if __name__ == "__main__":
    sys.exit(main())
