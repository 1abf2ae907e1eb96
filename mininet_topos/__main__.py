"""`python -m mininet_topos testbed SCENARIO --run-dir DIR` and `python -m mininet_topos capabilities`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from mininet_topos.sandbox import run_in_sandbox
from mininet_topos.testbed import ENGINES, Options, capabilities, run
from twin.errors import EnvironmentLack, VnftwinError
from twin.scenario_file import load_scenario


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code; an error is one line on stderr."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "capabilities":
            _print_capabilities()
            return 0
        return _testbed(options)
    except VnftwinError as error:
        print(f"vnftwin: {error}", file=sys.stderr)
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mininet_topos", description="Emulated edge-core networks.")
    commands = parser.add_subparsers(dest="command", required=True)
    testbed = commands.add_parser("testbed", help="runs a scenario's network; commands on stdin, events on stdout")
    testbed.add_argument("scenario", help="a file, or the name of a shipped scenario")
    testbed.add_argument("--run-dir", type=Path, required=True, help="folder for bound.json, ledger.csv and logs")
    testbed.add_argument("--engine", choices=ENGINES, default="", help="default: docker where it can run")
    testbed.add_argument("--seed", type=int, default=0)
    commands.add_parser("capabilities", help="what this machine offers, one `name: found` a line")
    return parser


def _testbed(options: argparse.Namespace) -> int:
    scenario = load_scenario(options.scenario)
    run_dir = options.run_dir.resolve()
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentLack(f"{run_dir}: {error.strerror}", "choose another --run-dir") from None
    chosen = Options(run_dir=run_dir, engine=options.engine, seed=options.seed)
    return run_in_sandbox(lambda inside: run(scenario, chosen, inside))


def _print_capabilities() -> None:
    if os.geteuid() != 0:
        raise EnvironmentLack("probing the kernel needs root", "run the same command with sudo")
    for name, found in capabilities().items():
        print(f"{name}: {found}")


if __name__ == "__main__":
    sys.exit(main())
