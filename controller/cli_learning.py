"""The arguments of the commands that learn, compare and measure: `train`, `sweep`, `evaluate` and `bench`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from controller.cli_remote import add_command

DEFAULT_STEPS = 800_000
TWIN_STEPS = 4096
KEPT = ".run"  # added to the name of a policy: the run from which its training goes on


def add_learning(commands: Any) -> None:
    _add_train(commands)
    _add_sweep(commands)


def _add_train(commands: Any) -> None:
    parser = add_command(commands, "train", train, "Train a policy on the simulator of a scenario.")
    parser.add_argument("scenario", nargs="?", help="a file, or the name of a shipped scenario")
    parser.add_argument("-o", "--output", type=Path, default=None, metavar="POLICY",
                        help="file to write (.safetensors)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=None, metavar="N", help="seed of network, traffic and chance (1)")
    parser.add_argument("--real-steps", type=count, default=None, metavar="N",
                        help=f"real steps to learn from ({TWIN_STEPS}, without the twin {DEFAULT_STEPS})")  # fmt: skip
    parser.add_argument("--twin", action=argparse.BooleanOptionalAction, default=True,
                        help="learn from the twin's synthetic experience, too (yes)")  # fmt: skip
    parser.add_argument("--traffic", choices=("recorded", "sampled", "held"), default=None,
                        help="with the twin: synthetic slots are offered what was recorded, what an LSTM draws, or "
                        "what was offered last (recorded)")  # fmt: skip
    parser.add_argument(
        "--starts",
        choices=("recorded", "generated"),
        default=None,
        help="with the twin: synthetic slots start from recorded traffic, or a VAE's (recorded)",
    )
    parser.add_argument("--from", dest="journals", type=Path, nargs="+", default=[], metavar="JOURNAL",
                        help="take no step: tune a policy in a twin of what these journals recorded")  # fmt: skip
    parser.add_argument("--start", default="", metavar="POLICY",
                        help="with --from: the policy to tune (the shipped one)")  # fmt: skip
    parser.add_argument("--resume", type=Path, default=None, metavar="FILE",
                        help=f"go on from POLICY{KEPT}, which is kept at every validation and by Ctrl-C")  # fmt: skip
    parser.add_argument("--recipe", default="", metavar="R",
                        help="in place of SCENARIO, seed and steps: a file that says on which networks and how, or the "
                        "name of a shipped policy, which is then made anew")  # fmt: skip
    parser.add_argument("--log", type=Path, default=None, metavar="DIR", help="write TensorBoard scalars here")


def train(arguments: argparse.Namespace) -> int:
    from controller.train_command import train_policy

    return train_policy(arguments)


def _add_sweep(commands: Any) -> None:
    text = "Train one policy per seed and setting, many at a time, on Ray or in processes of this machine."
    parser = add_command(commands, "sweep", sweep, text)
    parser.add_argument("scenario", help="a file, or the name of a shipped scenario")
    parser.add_argument("-o", "--output", type=Path, default=Path("sweep"), metavar="DIR",
                        help="folder for the policies and sweep.json (sweep)")  # fmt: skip
    parser.add_argument("--seeds", type=count, default=3, metavar="N", help="how many seeds per setting (3)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE,...",
                        help="a setting of A2C and its values; several times: every combination")  # fmt: skip
    parser.add_argument("--real-steps", type=count, default=DEFAULT_STEPS, metavar="N",
                        help=f"environment steps of each training ({DEFAULT_STEPS})")  # fmt: skip
    parser.add_argument("--address", default="", metavar="HOST:PORT",
                        help="a Ray cluster that runs (default: one of this machine alone)")  # fmt: skip
    parser.add_argument("--no-ray", action="store_true", help="in processes of this machine, without Ray")
    parser.add_argument("--workers", type=count, default=None, metavar="N", help="how many processes (all cores)")


def sweep(arguments: argparse.Namespace) -> int:
    from controller.sweep_command import sweep as run

    return run(arguments)


def count(text: str) -> int:
    """A whole number from 1 on."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def add_evaluate(commands: Any) -> None:
    parser = add_command(commands, "evaluate", evaluate, "Compare policies on held-out seeds in the simulator.")
    parser.add_argument("scenario", nargs="+")
    parser.add_argument("--policy", default="", metavar="P", help="a trained policy file (default: the shipped one)")
    parser.add_argument("--policies", default="stay,random,threshold,greedy", metavar="P,...",
                        help="to compare with (stay,random,threshold,greedy); also greedy-forecast, local-search, and"
                        " on small networks exact and clairvoyant, to which gaps are then measured")  # fmt: skip
    parser.add_argument("--polish", action="store_true", help="a row for the policy polished by search")
    parser.add_argument("--look-ahead", action="store_true", help="a row for the policy with look-ahead")
    parser.add_argument("--twin", default="", metavar="T", help="who forecasts in all rows: `persistence`, `smoothed`"
                        " readings, `generic` (the twin that ships) or a file of `twin fit` (persistence)")  # fmt: skip
    parser.add_argument("--seeds", type=count, default=10, metavar="N", help="runs per policy (10)")
    parser.add_argument("--slots", type=count, default=60, metavar="N", help="control periods per run (60)")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="every run's figures")
    parser.add_argument("--plots", type=Path, default=None, metavar="DIR",
                        help="pictures of the first seed: delay and power over time, where VNFs went")  # fmt: skip
    parser.add_argument("--curves", type=Path, nargs="+", default=[], metavar="POLICY",
                        help="with --plots: learning curves of trained policies, a band per scenario")  # fmt: skip


def evaluate(arguments: argparse.Namespace) -> int:
    from controller.learn import Evaluation, evaluate_policies

    names = [*(name for name in arguments.policies.split(",") if name), arguments.policy]
    base = arguments.policy or "a2c"
    names += [f"{base}+polish"] if arguments.polish else []
    names += [f"{base}+look-ahead"] if arguments.look_ahead else []
    return evaluate_policies(
        Evaluation(
            arguments.scenario, names, arguments.seeds, arguments.slots, arguments.json, arguments.plots,
            arguments.curves, arguments.twin,
        )
    )  # fmt: skip


def add_bench(commands: Any) -> None:
    text = "Measure how fast simulator, training and decisions are here: CPU time of one thread."
    parser = add_command(commands, "bench", bench, text)
    parser.add_argument("scenario", nargs="?", default="medium", help="a file, or the name of a shipped one (medium)")
    parser.add_argument("--large", action="store_true",
                        help="also one decision at 1,000 switches, 200 servers and 500 chains")  # fmt: skip
    parser.add_argument("--rounds", type=count, default=5, metavar="N", help="how often each is measured (5)")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="every round's figures")


def bench(arguments: argparse.Namespace) -> int:
    from controller.bench_command import bench as run

    return run(arguments)
