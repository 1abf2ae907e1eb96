"""`vnftwin completion SHELL`: prints what makes a shell complete commands, options, files, scenarios and names."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from controller.cli_remote import add_command

SHELLS = ("bash", "zsh", "fish")
_NAMES = "small medium abilene"
_SCENARIO = {
    "bash": "_vnftwin_scenario",
    "zsh": "_vnftwin_scenario",
    "fish": "(_vnftwin_scenario)",
    "preamble": {
        "bash": f'_vnftwin_scenario() {{ compgen -W "{_NAMES}" -- "$1"; compgen -f -- "$1"; }}',
        "zsh": f"_vnftwin_scenario() {{ compadd {_NAMES}; _files -g '*.(yaml|yml)' }}",
        "fish": f"function _vnftwin_scenario\n  string split ' ' '{_NAMES}'\n"
        "  __fish_complete_path (commandline -ct)\nend",
    },
}
_FOLDERS = ("report", "control", "log", "plots")


def add_completion(commands: Any) -> None:
    text = (
        'Print the completion of a shell: eval "$(vnftwin completion bash)", in fish: vnftwin completion fish | source'
    )
    parser = add_command(commands, "completion", completion, text)
    parser.add_argument("shell", choices=SHELLS)


def completion(arguments: argparse.Namespace) -> int:
    import shtab

    from controller.cli import build_parser

    parser = build_parser()
    for subparser in _subparsers(parser):
        for action in subparser._actions:
            _complete(action, shtab)
    print(shtab.complete(parser, arguments.shell))
    return 0


def _subparsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """The parser and all below it."""
    below = [a.choices.values() for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return [parser, *(deep for group in below for child in group for deep in _subparsers(child))]


def _complete(action: Any, shtab: Any) -> None:
    """Says of one argument what it is."""
    if action.dest == "scenario":
        action.complete = _SCENARIO
    elif action.dest in ("vnf", "server"):  # of the controller that runs here; nothing where none does
        action.complete = shtab.cmd(f"vnftwin status --list {action.dest}s 2>/dev/null")
    elif action.type is Path:
        action.complete = shtab.DIRECTORY if action.dest in _FOLDERS else shtab.FILE
