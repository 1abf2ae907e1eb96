"""The commands that talk to a running controller, `doctor`, and what all commands share."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

from twin.errors import VnftwinError

DEFAULT_LISTEN = "127.0.0.1:8080"
DEFAULT_URL = f"http://{DEFAULT_LISTEN}"
MODES = ("auto", "advise", "manual")  # controller.records.Mode, which is not imported before a command needs it
Command = Callable[[argparse.Namespace], int]


def add_command(commands: Any, name: str, run: Command, text: str) -> argparse.ArgumentParser:
    """A subcommand whose parsed arguments are given to `run`."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=run)
    return parser


def add_remote(commands: Any) -> None:
    for name, run_command, text in (
        ("status", status, "Show what a running controller sees."),
        ("move", move, "Ask a running controller to move a VNF."),
        ("whatif", whatif, "Ask a running controller what a move would change."),
        ("mode", mode, "Say who decides on a running controller, or ask it who does."),
    ):
        parser = add_command(commands, name, run_command, text)
        if name == "status":
            parser.add_argument("--list", choices=["vnfs", "servers"], help="only names, one a line")
        elif name == "mode":
            parser.add_argument("mode", nargs="?", choices=MODES, help="the policy, a person whom it advises, or a"
                                " person alone; nothing: only tell")  # fmt: skip
        else:
            parser.add_argument("vnf", help="CHAIN.TYPE")
            parser.add_argument("server")
        if name == "move":
            parser.add_argument("--wait", action="store_true", help="until the move has ended")
            parser.add_argument("--key", default=None, help="idempotency key")
        parser.add_argument("--url", default=DEFAULT_URL, help=f"address of the controller ({DEFAULT_URL})")
        parser.add_argument("--json", action="store_true")


def remote_client(arguments: argparse.Namespace) -> Any:
    """A client of the controller at `--url`."""
    from controller.client import ControllerClient

    return ControllerClient(arguments.url, token=os.environ.get("VNFTWIN_TOKEN", ""))


def status(arguments: argparse.Namespace) -> int:
    from controller.display import chain_table

    if arguments.list:
        print("\n".join(_names(remote_client(arguments), arguments.list)))
        return 0
    summary = remote_client(arguments).get("state")
    if arguments.json:
        print(json.dumps(summary))
    else:
        Console().print(chain_table({}, summary))
    return 0


def _names(client: Any, what: str) -> list[str]:
    return [row["id"] for row in client.get("servers")] if what == "servers" else list(client.get("state")["placement"])


def move(arguments: argparse.Namespace) -> int:
    from controller.records import Refused

    client = remote_client(arguments)
    try:
        record = client.move(arguments.vnf, arguments.server, key=arguments.key)
    except Refused as refusal:
        raise VnftwinError(f"refused: {refusal.reason}") from None
    if arguments.wait:
        record = client.wait_migration(record["id"], timeout_s=60.0)
    print(json.dumps(record) if arguments.json else f"{record['id']} {record['status']} {record['error']}".rstrip())
    return 1 if record["status"] in ("failed", "rolled_back") else 0


def whatif(arguments: argparse.Namespace) -> int:
    answer = remote_client(arguments).what_if(arguments.vnf, arguments.server)
    if arguments.json:
        print(json.dumps(answer))
        return 0
    print(f"delay {answer['delay_now_ms']:.2f} → {answer['delay_after_ms']:.2f} ms")
    print(f"power {answer['power_now_w']:.1f} → {answer['power_after_w']:.1f} W (modelled)")
    print("allowed" if answer["allowed"] else f"would be refused: {answer['reason']}")
    return 0


def mode(arguments: argparse.Namespace) -> int:
    client = remote_client(arguments)
    answer = client.set_mode(arguments.mode) if arguments.mode else {"mode": client.get("state")["mode"]}
    print(json.dumps(answer) if arguments.json else answer["mode"])
    return 0


def add_doctor(commands: Any) -> None:
    text = "What this machine has and lacks, with the command that mends each lack."
    parser = add_command(commands, "doctor", doctor, text)
    parser.add_argument("--json", action="store_true")


def doctor(arguments: argparse.Namespace) -> int:
    from controller.doctor import examine

    findings = examine()
    lacking = [f for f in findings if not f.ok and f.needed]
    if arguments.json:
        print(json.dumps([{n: getattr(f, n) for n in ("name", "ok", "found", "mend", "needed")} for f in findings]))
        return 1 if lacking else 0
    table = Table("", "what", "found", "mend")
    for finding in findings:
        lack = "[red]lacks[/red]" if finding.needed else "[yellow]without[/yellow]"
        mark = "[green]ok[/green]" if finding.ok else lack
        table.add_row(mark, finding.name, finding.found, "" if finding.ok else finding.mend)
    Console().print(table)
    return 1 if lacking else 0
