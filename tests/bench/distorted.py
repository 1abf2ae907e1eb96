"""Worlds that are not what the scenario file says: the agent with the twin against planning on the file.

    .venv/bin/python -m tests.bench.distorted [--worlds 10] [--steps 2000] [--outside] [--json FILE]

Hidden in each world, each factor uniform in 1 ± 0.5: service time of every VNF type, idle and dynamic power of every
server, how fast waiting grows with load, and how much of every link strangers leave over. Readings carry telemetry's
noise. The agent learns for `--steps` real steps, those of the twin included; then all play the same held-out traffic.
The planner looks two moves ahead (any VNFs, any servers) under the present traffic; three times: on the file, on what
the twin identified, on the truth. Beside the agent with the twin: with a twin that takes the file as it stands
(its gate open, which would else turn it off), and without a twin.

`--outside` adds what no factor of the twin's can express (`outside`). `--json` appends every world to a file; those
that it holds are not played again.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from agent.evaluation import interval
from agent.frugal import Extra, FrugalConfig, Learner
from agent.fused import scored
from agent.planning import PAYBACK_SLOTS
from agent.synthetic import Physics
from agent.trajectory import copied
from twin.case_kernels import chain_delays
from twin.correction import Correction
from twin.fast import BatchObservation, BatchSim
from twin.model import Model, model, work
from twin.move_modes import move_costs
from twin.routing import configured_routes
from twin.scenario import Scenario
from twin.scenario_file import load_scenario
from twin.state import BoolArray, FloatArray, IntArray
from twin.telemetry import Noise

WORLDS_FROM = 100
AGENT = "agent + twin"
HELD_OUT, INSTANCES, SLOTS = 700_000, 24, 40
Choose = Callable[[BatchObservation, BatchSim], IntArray]


class TwoMoves:
    """Exact search of all placements that one or two moves reach, on the model `m`."""

    def __init__(self, scenario: Scenario, m: Model) -> None:
        self.m, self.period_s, self._work = m, scenario.period_s, work(m)
        costs = zip(move_costs(scenario, None), m.vnfs["state_mb"], strict=True)
        self._move_j = np.array([cost.energy_j(cost.move_s(mb, 0.0), mb) for cost, mb in costs])
        singles = [[(v, s)] for v, s in product(range(len(m.vnfs)), range(len(m.servers)))]
        pairs = [[*a, *b] for a, b in product(singles, singles) if a[0][0] < b[0][0]]
        self._plans = [*singles, *pairs]
        self._rows = np.array([row for row, plan in enumerate(self._plans) for _ in plan])
        self._vnfs, self._targets = (np.array([move[i] for plan in self._plans for move in plan]) for i in (0, 1))

    def actions(self, seen: BatchObservation, sim: BatchSim) -> IntArray:
        read = sim.reading()
        columns = zip(read.hosts, read.offered_mbps, read.ends, seen["mask"], strict=True)
        return np.array([self._one(*row) for row in columns])

    def _one(self, hosts: IntArray, offered: FloatArray, ends: IntArray, mask: BoolArray) -> int:
        """The better of the best plan's moves that is feasible now, or stay where no plan pays."""
        m, after = self.m, np.tile(hosts, (len(self._plans) + 1, 1))
        after[self._rows, self._vnfs] = self._targets  # the last row is to stay
        delay_ms, power_w, fits = self._costs(after, offered, ends)
        gain = m.tau_delay * (1.0 - delay_ms / delay_ms[-1]) + m.tau_energy * (1.0 - power_w / power_w[-1])
        hosting = (after[:, :, None] == np.arange(len(m.servers))).any(axis=1)
        spent_j = (after != hosts) @ self._move_j + (hosting & ~hosting[-1]) @ m.servers["wake_j"]
        worth = PAYBACK_SLOTS * gain - m.tau_energy * spent_j / (power_w[-1] * self.period_s)
        worth = np.where(fits, worth, -np.inf)
        for row in np.argsort(-worth):
            if worth[row] <= 1e-9:
                break
            moves = [(v, s) for v, s in self._plans[row] if hosts[v] != s and mask[v, s]]
            if moves:
                v, s = max(moves, key=lambda move: worth[move[0] * len(m.servers) + move[1]])
                return 1 + int(v) * len(m.servers) + int(s)
        return 0

    def _costs(self, hosts: IntArray, offered: FloatArray, ends: IntArray) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Mean delay, settled power and whether processors carry it, of placements [N, V]."""
        m, n = self.m, len(hosts)
        out = np.empty((n, len(m.chains)))
        chain_delays(m, hosts, np.tile(offered, (n, 1)), np.tile(ends, (n, 1)), self._work, out)
        need = m.vnfs["cpu_base"] + m.vnfs["cpu_per_mbps"] * offered[m.vnfs["chain"]]
        on = hosts[:, :, None] == np.arange(len(m.servers))
        load = (on * need[:, None]).sum(axis=1) / m.servers["cores"]
        server = m.servers
        active = server["idle_w"] + (server["peak_w"] - server["idle_w"]) * np.minimum(load, 1.0)
        power = np.where(on.any(axis=1), active, server["sleep_w"]).sum(axis=1)
        return out @ (offered / offered.sum()), power, (load <= 0.95).all(axis=1)


def played(scenario: Scenario, physics: Model, belief: Model, choose: Choose) -> float:
    """Mean λ per slot on the held-out traffic."""
    sim = BatchSim(scenario, INSTANCES, HELD_OUT, slots=SLOTS, physics=physics)
    sim.believe(belief)
    seen, total = sim.reset(), 0.0
    for _ in range(SLOTS):
        seen, reward, _, _ = sim.step(choose(seen, sim))
        total += float(reward.mean()) / SLOTS
    return total


def outside(m: Model, scenario: Scenario, rng: np.random.Generator) -> Model:
    """The network with what `twin.correction.Correction` has no factor for, each uniform.

    Service time of every VNF by itself (1 ± 0.5, where the twin has one factor per type); strangers at every processor,
    so that waiting there is of another load than ours (0.6 to 1 of it is left); propagation on every link (1 ± 0.5).
    """
    vnfs, resources, route_ms = m.vnfs.copy(), m.resources.copy(), m.route_ms.copy()
    vnfs["service_ms"] *= rng.uniform(0.5, 1.5, len(vnfs))
    resources["capacity"][m.cpu : m.up] *= rng.uniform(0.6, 1.0, len(m.servers))
    link_ms = np.repeat([link.delay_ms for link in scenario.links], 2)
    more_ms = link_ms * np.repeat(rng.uniform(-0.5, 0.5, len(scenario.links)), 2)
    for pair, (first, last) in enumerate(pairwise(m.route_first.tolist())):
        route_ms.flat[pair] += more_ms[m.route_links[first:last]].sum()
    return m._replace(vnfs=vnfs, resources=resources, route_ms=route_ms)


def learners() -> dict[str, FrugalConfig]:
    """The agents by name; features of all start from soft greed on what is believed."""
    base = FrugalConfig()
    base = replace(base, a2c=replace(base.a2c, gain_prior=2.0), twin=replace(base.twin, believed=True))
    file = replace(base.twin, physics=Physics.FILE, bound=math.inf, disagreement=math.inf)
    return {AGENT: base, "agent, file's twin": replace(base, twin=file), "agent alone": replace(base, extra=Extra.NONE)}


def learnt(learner: Learner, steps: int) -> Choose:
    """The likeliest actions after so many real steps."""
    while learner.steps < steps:
        learner.round()

    def choose(seen: BatchObservation, _: BatchSim) -> IntArray:
        with torch.no_grad():
            choice: IntArray = scored(learner.network, copied(seen))[0].argmax(dim=-1).numpy()
        return choice

    return choose


def world(scenario: Scenario, number: int, steps: int, *, further: bool) -> dict[str, float]:
    """All players in one distorted world; `further`: also distorted as in `outside`."""
    began, nominal = time.process_time(), model(scenario, configured_routes(scenario))
    physics = Correction.drawn(scenario, np.random.default_rng(number)).apply(nominal, scenario)
    if further:
        physics = outside(physics, scenario, np.random.default_rng([number, 1]))
    found, twins = {}, {}
    for name, config in learners().items():
        learner = Learner(scenario, config, seed=number, physics=physics, noise=Noise())
        choose, twins[name] = learnt(learner, steps), learner.synthesis
        found[name] = played(scenario, physics, twins[name].belief, choose)
    twin = twins[AGENT]
    for name, m in (("planner, file", nominal), ("planner, twin", twin.belief), ("planner, truth", physics)):
        found[name] = played(scenario, physics, m, TwoMoves(scenario, m).actions)
    return {**found, "error": twin.error, "kept": twin.kept, "cpu_s": time.process_time() - began}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", default="small")
    parser.add_argument("--worlds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--outside", action="store_true", help="also distorted in ways that the twin cannot express")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    scenario, known = load_scenario(arguments.scenario), _recorded(arguments.json)
    for number in range(WORLDS_FROM + arguments.first, WORLDS_FROM + arguments.first + arguments.worlds):
        if number in known:
            continue
        found = known[number] = world(scenario, number, arguments.steps, further=arguments.outside)
        print(number, {k: round(v, 4) for k, v in found.items()}, flush=True)
        if arguments.json:
            with arguments.json.open("a") as file:
                file.write(json.dumps({"world": number, **found}) + "\n")
    _print(list(known.values()))


def _recorded(path: Path | None) -> dict[int, dict[str, float]]:
    """The worlds that a file holds, by number: none where there is no file yet."""
    lines = path.read_text().splitlines() if path is not None and path.exists() else []
    return {int(row.pop("world")): row for row in map(json.loads, lines)}


def _print(results: list[dict[str, float]]) -> None:
    table = Table("player", "objective λ", "better than the planner on the file by")
    for name in (name for name in results[0] if name.startswith(("agent", "planner"))):
        mean = interval([r[name] for r in results])
        gain = interval([100.0 * (r[name] / r["planner, file"] - 1.0) for r in results])
        table.add_row(name, f"{mean.mean:.4f} ± {mean.half:.4f}", f"{gain.mean:+.1f} % ± {gain.half:.1f}")
    errors = [r["error"] for r in results]
    Console().print(table, f"{len(results)} worlds; the twin's hold-out error {min(errors):.3f} to {max(errors):.3f}")


if __name__ == "__main__":
    main()
