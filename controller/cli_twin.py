"""The commands `twin fit`, `twin report` and `twin load`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from controller.cli_remote import DEFAULT_URL, add_command, remote_client
from controller.journal_recordings import JournalRuns, read_all
from twin.errors import InputError, VnftwinError

DEFAULT_STEPS = 600
_ROUNDS = 20  # of the progress bar


def add_twin(commands: Any) -> None:
    text = "Fit a digital twin on journals, judge it, or give it to a running controller."
    parser = commands.add_parser("twin", help=text, description=text)
    own = parser.add_subparsers(required=True, metavar="COMMAND")
    fitting = add_command(own, "fit", fit, "Fit a twin on the journals of runs, live or dry, of one scenario.")
    fitting.add_argument("journal", nargs="+", type=Path)
    fitting.add_argument("-o", "--output", type=Path, required=True, metavar="TWIN",
                         help="file to write (.safetensors)")  # fmt: skip
    fitting.add_argument("--from", dest="start", default="", metavar="TWIN",
                         help="go on from this twin's networks: a file, or the shipped one (generic)")  # fmt: skip
    fitting.add_argument("--steps", type=_count, default=DEFAULT_STEPS, metavar="N",
                         help=f"updates of every member of the ensemble ({DEFAULT_STEPS})")  # fmt: skip
    fitting.add_argument("--seed", type=int, default=1, metavar="N")
    report_text = "Errors of a twin on journals it was not fitted on, beside persistence and others."
    reporting = add_command(own, "report", report, report_text)
    reporting.add_argument("twin", metavar="TWIN", help="a twin's file, or the shipped one (generic)")
    reporting.add_argument("journal", nargs="+", type=Path)
    reporting.add_argument("--plots", type=Path, default=None, metavar="DIR", help="also draw what was predicted")
    reporting.add_argument("--json", action="store_true")
    loading = add_command(own, "load", load, "Give a running controller another twin; it takes it if it is better.")
    loading.add_argument("twin", type=Path, metavar="TWIN")
    loading.add_argument("--url", default=DEFAULT_URL, help=f"address of the controller ({DEFAULT_URL})")


def fit(arguments: argparse.Namespace) -> int:
    import numpy as np
    import torch

    from twin.learned.learner import TwinLearner
    from twin.learned.serving import named_twin

    if not arguments.output.parent.is_dir():
        raise InputError(f"cannot write {arguments.output}: no such folder")
    runs = read_all(arguments.journal)
    scenario, recordings = runs[0].scenario, [r for run in runs for r in run.recordings]
    start = named_twin(arguments.start, scenario) if arguments.start else None
    torch.set_num_threads(1)  # the networks are small: a second thread only waits for the first
    learner = TwinLearner(scenario, seed=arguments.seed, start=start.function if start else None)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("fitting", total=arguments.steps)
        twin = learner.fit(
            recordings, rng=np.random.default_rng(arguments.seed), steps=arguments.steps,
            generator_steps=arguments.steps, progress=lambda done: bar.update(task, completed=done),
        )  # fmt: skip
    twin = replace(twin, known_until={run.began: run.until_s for run in runs if run.recordings})
    try:
        twin.save(arguments.output)
    except OSError as error:
        raise InputError(f"cannot write {arguments.output}: {error.strerror}") from None
    ratios = ", ".join(f"{head} {ratio:.2f}" for head, ratio in twin.hold_out.items())
    print(f"{arguments.output}: fitted on {twin.slots} slots of {twin.runs} runs of {scenario.name}; "
          f"held-out error over persistence's: {ratios}")  # fmt: skip
    return 0


def report(arguments: argparse.Namespace) -> int:
    from controller.twin_report import error_table, save_plots
    from twin.learned.scoring import scores
    from twin.learned.serving import named_twin

    runs = read_all(arguments.journal)
    twin = named_twin(arguments.twin, runs[0].scenario)
    if twin is None:
        raise InputError("persistence is in every report; name a twin")
    if known := [str(run.path) for run in runs if run.began in twin.known_until]:
        raise InputError(f"the twin was fitted on {', '.join(known)}: report on other journals")
    sequences = [twin.encoder.sequence(r) for run in runs for r in run.recordings]
    table = scores(twin.encoder, twin.function, sequences, shares=twin.shares)
    if not table:
        raise InputError(f"no run in {', '.join(map(str, arguments.journal))} is long enough to report on")
    if arguments.json:
        print(
            json.dumps(
                [{n: getattr(row, n) for n in (*row.__dataclass_fields__, "ratio", "alone_ratio")} for row in table]
            )
        )
    else:
        Console().print(error_table(_title(runs, len(sequences)), table))
    if arguments.plots is not None:
        written = save_plots(arguments.plots, twin, max(sequences, key=len))
        print("plots: " + ", ".join(map(str, written)))
    return 0


def _title(runs: Sequence[JournalRuns], count: int) -> str:
    return f"{runs[0].scenario.name}: mean absolute errors over {count} run{'s' if count > 1 else ''}"


def load(arguments: argparse.Namespace) -> int:
    from controller.records import Refused

    try:
        answer = remote_client(arguments).load_twin(str(arguments.twin.resolve()))
    except Refused as refusal:
        raise VnftwinError(f"refused: {refusal}") from None
    print(f"in use from now on: {answer['file']}, error {answer['error_ratio']:.2f} of the one before on "
          f"{answer['slots']} slots that neither was fitted on")  # fmt: skip
    return 0


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value
