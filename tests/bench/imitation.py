"""What imitating search gives a policy on networks under constant traffic that it never saw.

    python -m tests.bench.imitation -o POLICY [--cpu-s N] [--seed N]

Networks of 8 servers and 4 x 3 VNFs are drawn afresh in every round; `agent.imitation` says what is learnt from them.
Every tenth round the policy alone is played on 32 networks that are drawn for this only; the best of these is written.
Then `python -m tests.bench.static_gap --policy POLICY` compares it on the fifty.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from agent.a2c import A2CConfig
from agent.a2c_policy import load_policy
from agent.compiled_policy import CompiledPolicy
from agent.imitation import ImitationConfig, joined, play_guided, study
from agent.iterated import kicked
from agent.network import PolicyNetwork
from agent.policy import PolicyFunction
from agent.training import SIZES, VALIDATION_SEED, TrainedPolicy
from twin.drawn import Size, drawn_networks
from twin.fast import BatchSim
from twin.features import PAIR_FEATURES, Observation

CONFIG = ImitationConfig(payback_slots=40.0, kicks=2, first_kicks=200, kept=24_000)
ROUND, SLOTS, MOST, HELD_OUT = 32, 20, 30, 32
_TRAINING_SEED = 1_000_000


class Known(NamedTuple):
    """A network held out, and the least cost that search knows there."""

    sim: BatchSim
    cost: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="POLICY")
    parser.add_argument("--cpu-s", type=float, default=150.0, metavar="N", help="CPU seconds to learn for (150)")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    network, config = PolicyNetwork(SIZES), A2CConfig()
    scalers = load_policy("generic").function.scalers
    network.restore(PolicyFunction(network.function().weights, scalers))
    network.prefer(PAIR_FEATURES.index("gain"), config.gain_prior)
    best, states = _learn(network, held_out(), arguments.cpu_s, arguments.seed)
    TrainedPolicy(best, ("drawn",), arguments.seed, states, config, ()).save(arguments.output)
    return 0


def _learn(
    network: PolicyNetwork, known: Sequence[Known], cpu_s: float, seed: int
) -> tuple[PolicyFunction, int]:  # fmt: skip
    """(the best policy, labelled states)."""
    rng, chance = np.random.default_rng([_TRAINING_SEED, seed]), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=CONFIG.learning_rate, eps=1e-5)
    best, least, states, rounds, lessons = network.function(), gap(network.function(), known), 0, 0, None
    print(f"before: {least:.2%} above the best known", flush=True)
    while (share := time.process_time() / cpu_s) < 1.0:
        for group in optimizer.param_groups:
            group["lr"] = CONFIG.learning_rate * max(0.1, 1.0 - share)
        drawn = drawn_networks(Size(), ROUND, rng)
        sims = [BatchSim(s, 1, _TRAINING_SEED + i, randomise=False, slots=SLOTS + 1) for i, s in enumerate(drawn)]
        new = joined(list(play_guided(sims, network, CONFIG, slots=SLOTS, rng=rng)))
        lessons = joined([lessons, new] if lessons else [new]).rows(slice(-CONFIG.kept, None))
        loss, states, rounds = study(network, optimizer, lessons, CONFIG, chance), states + len(new), rounds + 1
        if rounds % 10 == 0:
            found = gap(network.function(), known)
            print(f"{time.process_time():.0f} CPU-s, {states} states: loss {loss:.2f}, {found:.2%}", flush=True)
            if found < least:
                best, least = network.function(), found
    return best, states


def held_out() -> list[Known]:
    """Networks that are never learnt from."""
    found = []
    for i, scenario in enumerate(drawn_networks(Size(), HELD_OUT, np.random.default_rng(VALIDATION_SEED))):
        sim = BatchSim(scenario, 1, VALIDATION_SEED + i, randomise=False, slots=MOST + 1)
        sim.reset()
        search = sim.search(0)
        start = search.settle(search.seen.hosts, deep=False)
        found.append(Known(sim, search.cost(kicked(search, start, kicks=400, rng=np.random.default_rng(i)))))
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
