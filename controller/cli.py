"""The command `vnftwin`. Exit codes: 0 done, 1 failed while running, 2 wrong input."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from controller.cli_completion import add_completion
from controller.cli_learning import add_bench, add_evaluate, add_learning
from controller.cli_remote import DEFAULT_LISTEN, MODES, Command, add_command, add_doctor, add_remote
from controller.cli_twin import add_twin
from controller.cli_types import address, seconds
from controller.qualify_command import add_qualify
from twin.errors import InputError, ScenarioError, VnftwinError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; every error is one line on stderr (a scenario's problems are one line each)."""
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")  # known: see controller.ryu_compat
    arguments = build_parser().parse_args(argv)
    if not sys.warnoptions:  # Ryu needs it all the same, and a log of JSON lines has no place for it
        warnings.filterwarnings("ignore", r"\s*Eventlet is deprecated")
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        command: Command = arguments.command
        return command(arguments)
    except VnftwinError as error:
        print("\n".join(f"vnftwin: {line}" for line in str(error).splitlines()), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("vnftwin: interrupted; everything of this run has been removed", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1


def _interrupt(_number: int, _frame: object) -> None:
    """Ending by SIGTERM cleans up just as Ctrl-C does."""
    raise KeyboardInterrupt


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vnftwin", description="Moves virtual network functions to where a digital twin says they should run."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    live = (_add_check, _add_run, _add_controller, add_qualify)
    own = (add_learning, add_twin, add_evaluate, add_bench, _add_import, _add_calibrate)
    for add in (*live, *own, add_remote, add_doctor, add_completion):
        add(commands)
    return parser


def _add_check(commands: Any) -> None:
    parser = add_command(commands, "check", check, "Validate a scenario and print a summary.")
    parser.add_argument("scenario", help="a file, or the name of a shipped scenario (small, medium, abilene)")
    parser.add_argument("--write", action="store_true", help="print the scenario as it was read, as YAML")
    parser.add_argument("--json", action="store_true", help="print the summary, or the problems, as JSON")


def check(arguments: argparse.Namespace) -> int:
    from twin.scenario_file import dump_scenario, load_scenario, summarise, summary

    try:
        scenario = load_scenario(arguments.scenario)
    except ScenarioError as error:
        if not arguments.json:
            raise
        print(json.dumps({"ok": False, "problems": [asdict(problem) for problem in error.problems]}))
        return error.exit_code
    if arguments.json:
        print(json.dumps({"ok": True, **summary(scenario)}))
        return 0
    print(dump_scenario(scenario) if arguments.write else summarise(scenario))
    return 0


def _add_run(commands: Any) -> None:
    parser = add_command(
        commands, "run", run, "Run a scenario live: emulated network, containers, traffic and controller."
    )
    parser.add_argument("scenario", help="a file, or the name of a shipped scenario")
    parser.add_argument("--duration", type=seconds, default=120.0, metavar="S", help="seconds of traffic (120)")
    parser.add_argument("--policy", default="", metavar="P", help="stay, random, threshold, greedy, greedy-forecast,"
                        " local-search, exact or a policy file (default: the trained A2C policy of the scenario);"
                        " +polish or +look-ahead behind its name refines its choice")  # fmt: skip
    parser.add_argument("--compare", default="", metavar="P,...", help="then run these policies too, same seed, and"
                        " print them side by side (each takes as long again)")  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="the same loop over the simulator: touches nothing")
    parser.add_argument("--report", type=Path, default=Path("report"), metavar="DIR", help="folder to write (report)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="seed of traffic and policy (1)")
    parser.add_argument("--engine", choices=["docker", "process"], default="", help="container engine"
                        " (default: docker where it can run, else processes in namespaces)")  # fmt: skip
    parser.add_argument("--listen", type=address, default=None, metavar="HOST:PORT", help="address of page, REST and"
                        f" metrics ({DEFAULT_LISTEN}); a dry run with it is shown in real time")  # fmt: skip
    parser.add_argument("--mode", choices=MODES, default="auto",
                        help="who decides: the policy, a person whom it advises, a person alone (auto)")  # fmt: skip
    _add_twin_option(parser)
    parser.add_argument("--journal", type=Path, default=None, metavar="FILE", help="with --dry-run: write what was seen"
                        " and decided here, for `twin fit` (a live run's is in its report)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the record as JSON instead of tables")


def _add_twin_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--twin", default="", metavar="T", help="who forecasts: `persistence`, `smoothed`"
                        " readings, `generic` (the twin that ships) or a file of `twin fit` (persistence)")  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    from agent.a2c_policy import named_policy
    from twin.learned.serving import named_twin
    from twin.scenario_file import load_scenario

    scenario = load_scenario(arguments.scenario)
    policies = [arguments.policy, *(p for p in arguments.compare.split(",") if p)]
    for policy in policies:
        named_policy(policy, scenario)  # an unknown one is an error now, not after the first run
    if arguments.journal is not None and not arguments.dry_run:
        raise InputError("--journal is for --dry-run: a live run's journal is in its report")
    named_twin(arguments.twin, scenario)
    if arguments.dry_run and arguments.listen is not None:
        return _show_dry(arguments, scenario)
    arguments.listen = arguments.listen or address(DEFAULT_LISTEN)
    _require_token(arguments.listen)
    if arguments.dry_run:
        from controller.dry_run import run_dry

        return run_dry(
            scenario, policies, duration_s=arguments.duration, seed=arguments.seed, twin=arguments.twin,
            journal=arguments.journal, as_json=arguments.json,
        )  # fmt: skip
    from controller.report import print_report, save_plots

    records = [_run_one(arguments, policy) for policy in policies]
    if arguments.json:
        print(json.dumps([r.as_json() for r in records]))
    else:
        print_report(Console(), records)
    save_plots(arguments.report, records)
    print(f"report: {arguments.report}/", file=sys.stderr)
    return 0


def _show_dry(arguments: argparse.Namespace, scenario: Any) -> int:
    from controller.dry_runtime import DryOptions, show_dry

    if arguments.compare:
        raise InputError("--compare and --listen: a dry run that is shown has one policy")
    _require_token(arguments.listen)
    token = os.environ.get("VNFTWIN_TOKEN", "")
    options = DryOptions(
        policy=arguments.policy, twin=arguments.twin, mode=arguments.mode, seed=arguments.seed, token=token
    )
    return show_dry(scenario, options, listen=arguments.listen, duration_s=arguments.duration)


def _run_one(arguments: argparse.Namespace, policy: str) -> Any:
    from controller.display import Display
    from controller.run import RunOptions, run_live

    options = RunOptions(
        arguments.scenario, arguments.duration, policy, arguments.seed, arguments.engine, arguments.report,
        arguments.listen, os.environ.get("VNFTWIN_TOKEN", ""), mode=arguments.mode,
        twin=arguments.twin,
    )  # fmt: skip
    console = Console(stderr=arguments.json)
    with Display(console, title=f"{arguments.scenario}, {policy or 'a2c'}", duration_s=arguments.duration) as display:
        return run_live(options, display)


def _add_controller(commands: Any) -> None:
    text = "Run the controller alone, for switches and engines that exist (the scenario names them)."
    parser = add_command(commands, "controller", controller, text)
    parser.add_argument("scenario")
    parser.add_argument("--policy", default="", metavar="P")
    parser.add_argument("--mode", choices=MODES, default="auto")
    _add_twin_option(parser)
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--listen", type=address, default=address(DEFAULT_LISTEN), metavar="HOST:PORT",
                        help="address of REST and metrics")  # fmt: skip
    parser.add_argument("--listen-fd", type=int, default=-1, help=argparse.SUPPRESS)
    parser.add_argument("--openflow", type=address, default=("127.0.0.1", 6653), metavar="HOST:PORT",
                        help="address on which switches connect (127.0.0.1:6653)")  # fmt: skip
    parser.add_argument("--openflow-tls", type=Path, default=None, metavar="DIR",
                        help="take switches by TLS only: folder with key.pem, cert.pem and ca.pem")  # fmt: skip
    parser.add_argument("--journal", type=Path, default=Path("vnftwin-journal.db"), metavar="FILE",
                        help="what was seen, decided and done (vnftwin-journal.db)")  # fmt: skip
    parser.add_argument("--control", type=Path, default=None, metavar="DIR",
                        help="folder of the VNFs' control sockets (/run/vnftwin/SCENARIO)")  # fmt: skip
    parser.add_argument("--no-confirm", dest="confirm", action="store_false",
                        help="believe the switches' barriers: do not prove a new way by packets")  # fmt: skip
    parser.add_argument("--log-format", choices=["auto", "json", "text"], default="auto",
                        help="of the lines on stderr; auto: text on a terminal, else JSON (auto)")  # fmt: skip
    parser.add_argument("--log-level", choices=["debug", "info", "warning"], default="info",
                        help="debug tells every decision, also to stay (info)")  # fmt: skip


def controller(arguments: argparse.Namespace) -> int:
    from controller.runtime import RuntimeOptions, serve
    from twin.scenario_file import load_scenario

    scenario = load_scenario(arguments.scenario)
    if arguments.listen_fd < 0:
        _require_token(arguments.listen)
    return serve(
        scenario,
        RuntimeOptions(
            policy=arguments.policy, twin=arguments.twin, mode=arguments.mode, seed=arguments.seed,
            listen=arguments.listen,
            listen_fd=arguments.listen_fd, openflow=arguments.openflow, journal=arguments.journal,
            control_root=arguments.control, confirm=arguments.confirm, token=os.environ.get("VNFTWIN_TOKEN", ""),
            log_format=arguments.log_format, log_level=arguments.log_level,
            openflow_tls=arguments.openflow_tls,
        ),
    )  # fmt: skip


def _add_import(commands: Any) -> None:
    parser = add_command(commands, "import", import_file, "Turn Topology Zoo GraphML or SNDlib XML into a scenario.")
    parser.add_argument("file", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="SCENARIO")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="seed of what the file does not say")
    parser.add_argument("--demands", type=Path, default=None, metavar="FILE", help="an SNDlib demand matrix of its own")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def import_file(arguments: argparse.Namespace) -> int:
    from twin.importers import ImportOptions, import_network
    from twin.scenario_file import dump_scenario, summarise, summary

    scenario = import_network(arguments.file, seed=arguments.seed, options=ImportOptions(demands=arguments.demands))
    try:
        arguments.output.write_text(dump_scenario(scenario))
    except OSError as error:
        raise InputError(f"cannot write {arguments.output}: {error.strerror}") from None
    print(json.dumps(summary(scenario)) if arguments.json else summarise(scenario))
    return 0


def _add_calibrate(commands: Any) -> None:
    from controller.calibrate import add_calibrate, calibrate

    add_calibrate(add_command(commands, "calibrate", calibrate, "What the moves in journals cost, for the model."))


def _require_token(listen: tuple[str, int]) -> None:
    from controller.rest import needs_token

    if needs_token(listen[0]) and not os.environ.get("VNFTWIN_TOKEN"):
        raise InputError(f"listening on {listen[0]} needs a bearer token: set VNFTWIN_TOKEN, or listen on 127.0.0.1")


if __name__ == "__main__":
    sys.exit(main())
