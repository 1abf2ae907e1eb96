"""The arguments of the commands that learn: `train`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from controller.cli_remote import add_command

DEFAULT_STEPS = 800_000
KEPT = ".run"  # added to the name of a policy: the run from which its training goes on


def add_learning(commands: Any) -> None:
    _add_train(commands)


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


def count(text: str) -> int:
    """A whole number from 1 on."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value
