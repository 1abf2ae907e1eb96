"""What imitating search gives a policy on networks under constant traffic that it never saw.

    python -m tests.bench.imitation -o POLICY [--cpu-s N] [--seed N]

Networks of 8 servers and 4 x 3 VNFs are drawn afresh in every round, in every third of them networks where search is
easy (`tests.bench.small_cases.flat`); `agent.imitation` says what is learnt from them. Every sixth round the policy
alone is played on 24 networks of each kind that are drawn for this only; the best of these is written.
Then `python -m tests.bench.static_gap --policy POLICY` compares it on the fifty.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from agent.a2c import A2CConfig
from agent.compiled_policy import CompiledPolicy
from agent.imitation import ImitationConfig, Lessons, joined, play_guided, study
from agent.iterated import kicked
from agent.network import PolicyNetwork
from agent.policy import PolicyFunction
from agent.training import SIZES, VALIDATION_SEED, TrainedPolicy
from tests.bench.small_cases import flat
from twin.drawn import Size, drawn_networks
from twin.fast import BatchSim
from twin.features import PAIR_FEATURES, Observation
from twin.scenario import Scenario

HARD = ImitationConfig(payback_slots=40.0, kicks=2, first_kicks=200, kept=24_000, steps=40)
FLAT = replace(HARD, kicks=1, first_kicks=60, steps=16)
ROUND, SLOTS, MOST, HELD_OUT = 32, 20, 30, 24
FLAT_EVERY, LOOK_EVERY, FIRST_STUDY = 3, 6, 4  # rounds
_TRAINING_SEED = 1_000_000


class Known(NamedTuple):
    """A network held out, and the least cost that search knows there."""

    sim: BatchSim
    cost: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="POLICY")
    parser.add_argument("--cpu-s", type=float, default=240.0, metavar="N", help="CPU seconds to learn for (240)")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    school = School(PolicyNetwork(SIZES), arguments.seed)
    best = _learn(school, (held_out(easy=False), held_out(easy=True)), arguments.cpu_s)
    TrainedPolicy(best, ("drawn",), arguments.seed, school.states, A2CConfig(), ()).save(arguments.output)
    return 0


class School:
    """A network that learns round by round, and what it learnt from: lessons of hard and of flat networks."""

    def __init__(self, network: PolicyNetwork, seed: int) -> None:
        self.network, self.rounds, self.states = network, 0, 0
        self._rng, self._chance = np.random.default_rng([_TRAINING_SEED, seed]), torch.Generator().manual_seed(seed)
        self._optimizer = torch.optim.Adam(network.parameters(), lr=HARD.learning_rate, eps=1e-5)
        self._lessons: dict[bool, Lessons] = {}

    def round(self, left: float) -> float:
        """One round, with `left` (1 to 0) of the course to go; the loss."""
        for group in self._optimizer.param_groups:
            group["lr"] = HARD.learning_rate * max(0.05, left)
        easy = self.rounds % FLAT_EVERY == FLAT_EVERY - 1
        new = self._played(FLAT if easy else HARD, easy)
        if self.rounds == 0:
            self.network.fit_scalers(new.seen)
            self.network.prefer(PAIR_FEATURES.index("plan_gain"), A2CConfig().gain_prior)
        known = [self._lessons[easy]] if easy in self._lessons else []
        self._lessons[easy] = joined([*known, new]).rows(slice(-HARD.kept, None))
        self.rounds, self.states, loss = self.rounds + 1, self.states + len(new), float("nan")
        if self.rounds >= FIRST_STUDY:
            for kind, lessons in self._lessons.items():
                loss = study(self.network, self._optimizer, lessons, FLAT if kind else HARD, self._chance)
        return loss

    def _played(self, config: ImitationConfig, easy: bool) -> Lessons:
        drawn = drawn_kind(ROUND, self._rng, easy)
        sims = [BatchSim(s, 1, _TRAINING_SEED + i, randomise=False, slots=SLOTS + 1) for i, s in enumerate(drawn)]
        return joined(list(play_guided(sims, self.network, config, slots=SLOTS, rng=self._rng)))


def drawn_kind(count: int, rng: np.random.Generator, easy: bool) -> list[Scenario]:
    drawn = drawn_networks(Size(), count, rng)
    return [flat(scenario, rng) for scenario in drawn] if easy else drawn


def _learn(school: School, known: Sequence[Sequence[Known]], cpu_s: float) -> PolicyFunction:
    """The policy with the least sum of both gaps."""
    best, least, began = school.network.function(), float("inf"), time.process_time()
    while (share := (time.process_time() - began) / cpu_s) < 1.0:
        loss = school.round(1.0 - share)
        if school.rounds % LOOK_EVERY == 0:
            gaps = [gap(school.network.function(), kind) for kind in known]
            print(f"{share:.0%}, {school.states} states: loss {loss:.2f}, gaps {gaps[0]:.2%} {gaps[1]:.2%}", flush=True)
            if sum(gaps) < least:
                best, least = school.network.function(), sum(gaps)
    return best


def held_out(*, easy: bool) -> list[Known]:
    """Networks that are never learnt from."""
    found = []
    for i, scenario in enumerate(drawn_kind(HELD_OUT, np.random.default_rng(VALIDATION_SEED + easy), easy)):
        sim = BatchSim(scenario, 1, VALIDATION_SEED + i, randomise=False, slots=MOST + 1)
        sim.reset()
        search = sim.search(0)
        start = search.settle(search.seen.hosts, deep=False)
        found.append(Known(sim, search.cost(kicked(search, start, kicks=300, rng=np.random.default_rng(i)))))
    return found


def gap(function: PolicyFunction, known: Sequence[Known]) -> float:
    """Mean gap where the likeliest actions end."""
    scores, gaps = CompiledPolicy(function), []
    for sim, cost in known:
        seen = sim.reset()
        for _ in range(MOST):
            action = scores(Observation(**seen)).logits.argmax(axis=-1)
            if action[0] == 0:
                break
            seen = sim.step(action)[0]
        gaps.append(sim.search(0).cost(sim.hosts[0]) / cost - 1.0)
    return float(np.mean(gaps))


if __name__ == "__main__":
    sys.exit(main())
