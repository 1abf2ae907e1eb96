"""The arguments of the commands that learn: `train` and `sweep`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from controller.cli_remote import add_command

DEFAULT_STEPS = 800_000
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
                        help=f"environment steps to learn from ({DEFAULT_STEPS})")  # fmt: skip
    parser.add_argument("--resume", type=Path, default=None, metavar="FILE",
                        help=f"go on from POLICY{KEPT}, which is kept at every validation and by Ctrl-C")  # fmt: skip
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
