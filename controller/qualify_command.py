"""The command `vnftwin qualify` (docs/real-switches.md)."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from controller.cli_remote import add_command
from controller.cli_types import address, seconds
from twin.errors import InputError


def add_qualify(commands: Any) -> None:
    text = "Try out the switches that a scenario names, before anything is installed; leaves them as they were."
    parser = add_command(commands, "qualify", qualify, text)
    parser.add_argument("scenario", help="a file, or the name of a shipped scenario")
    parser.add_argument("--switch", action="append", default=[], metavar="ID", help="only this one (may be repeated)")
    parser.add_argument("--openflow", type=address, default=("127.0.0.1", 6653), metavar="HOST:PORT",
                        help="address on which switches connect (127.0.0.1:6653)")  # fmt: skip
    parser.add_argument("--openflow-tls", type=Path, default=None, metavar="DIR",
                        help="take switches by TLS only: folder with key.pem, cert.pem and ca.pem")  # fmt: skip
    parser.add_argument("--timeout", type=seconds, default=30.0, metavar="S", help="wait so long for them (30)")
    parser.add_argument("--json", action="store_true", help="what was found as JSON, by switch")


def qualify(arguments: argparse.Namespace) -> int:
    from controller import qualify_app
    from controller.tls import tls_files
    from twin.scenario_file import load_scenario

    scenario = load_scenario(arguments.scenario)
    known = [switch.id for switch in scenario.switches]
    if unknown := [switch for switch in arguments.switch if switch not in known]:
        raise InputError(f"no switch {', '.join(unknown)} in the scenario, it has {', '.join(known)}")
    found = qualify_app.qualify(
        scenario, arguments.switch or known, listen=arguments.openflow, tls=tls_files(arguments.openflow_tls),
        timeout_s=arguments.timeout,
    )  # fmt: skip
    qualify_app.print_found(found, as_json=arguments.json)
    return 0 if qualify_app.qualified(found) else 1
