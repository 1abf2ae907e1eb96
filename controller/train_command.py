"""The command `train`: progress on the terminal, a log for TensorBoard, and a file from which a stopped run goes on."""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import FrameType, TracebackType

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from agent import training
from agent.branch_sources import Origin, Traffic
from agent.frugal import FrugalConfig
from agent.recipes import load_recipe
from agent.resume import load_run, save_run
from agent.training import TrainingRun
from agent.training_log import TrainingLog
from agent.twin_training import DEFAULTS, TwinRun
from controller.cli_learning import DEFAULT_STEPS, KEPT, TWIN_STEPS
from twin.errors import InputError
from twin.scenario_file import load_scenario

_INTERRUPTED = 130


def train_policy(arguments: argparse.Namespace) -> int:
    """InputError before anything is trained where the file could not be written."""
    if arguments.journals:
        from controller.tune_command import tune_policy

        return tune_policy(arguments)
    run, output = _wanted(arguments)
    if not output.parent.is_dir():
        raise InputError(f"cannot write {output}: no such folder")
    kept = output.with_name(f"{output.name}{KEPT}")
    try:
        with Stop() as stop:
            if not _followed(run, kept, arguments.log, stop):
                rest = f"go on with: vnftwin train --resume {kept}" if kept.exists() else "nothing was written"
                print(f"vnftwin: interrupted after {run.steps} steps; {rest}", file=sys.stderr)
                return _INTERRUPTED
        trained = run.result()
        trained.save(output)
    except OSError as error:
        raise InputError(f"cannot write {error.filename or output}: {error.strerror}") from None
    kept.unlink(missing_ok=True)
    best = max((score for _, score in trained.validations), default=float("nan"))
    names = " + ".join(trained.scenarios)
    print(f"{output}: {trained.steps} steps on {names}, objective per slot {best:.3f} on held-out traffic")
    return 0


def _wanted(arguments: argparse.Namespace) -> tuple[TrainingRun | TwinRun, Path]:
    """The run, new or resumed, and the file to write."""
    output: Path | None = arguments.output
    if arguments.recipe:
        if output is None:
            raise InputError("train --recipe needs -o POLICY, the file to write")
        return _from_recipe(arguments), output
    if arguments.start:
        raise InputError("--start goes with --from: leave it out (a recipe names its own)")
    if arguments.resume is None:
        if arguments.scenario is None or output is None:
            raise InputError("train needs a SCENARIO and -o POLICY, or --resume FILE")
        if not arguments.twin and (arguments.traffic or arguments.starts):
            raise InputError("--traffic and --starts are the twin's: leave them out with --no-twin")
        seed, scenario = 1 if arguments.seed is None else arguments.seed, load_scenario(arguments.scenario)
        if arguments.twin:
            torch.set_num_threads(1)  # its batches are small: threads would wait for each other
            config = sourced(DEFAULTS, arguments)
            return TwinRun(scenario, seed=seed, real_steps=arguments.real_steps or TWIN_STEPS, config=config), output
        return TrainingRun([scenario], seed=seed, real_steps=arguments.real_steps or DEFAULT_STEPS), output
    if any(value is not None for value in (arguments.scenario, arguments.seed, arguments.real_steps)):
        raise InputError("--resume goes on with the file's own scenario, seed and steps: leave them out")
    if arguments.traffic or arguments.starts:
        raise InputError("--resume goes on with a run that had no twin: leave --traffic and --starts out")
    if output is None and arguments.resume.suffix != KEPT:
        raise InputError(f"{arguments.resume} does not end in {KEPT}: name the policy to write with -o")
    return load_run(arguments.resume), output or arguments.resume.with_suffix("")


def _from_recipe(arguments: argparse.Namespace) -> TrainingRun:
    """The run that a recipe describes; nothing else may describe it, too."""
    also = (arguments.scenario, arguments.seed, arguments.real_steps, arguments.resume, arguments.traffic)
    if any(value is not None for value in (*also, arguments.starts)) or arguments.start:
        raise InputError("--recipe says on which networks, for how long and how: leave the rest out")
    torch.set_num_threads(1)  # the number of threads is part of what makes it the same policy again
    return load_recipe(arguments.recipe).begin()


def sourced(config: FrugalConfig, arguments: argparse.Namespace) -> FrugalConfig:
    """The settings with `--traffic` and `--starts`, where they were given."""
    twin = config.twin
    traffic = Traffic(arguments.traffic) if arguments.traffic else twin.traffic
    starts = Origin(arguments.starts) if arguments.starts else twin.starts
    return replace(config, twin=replace(twin, traffic=traffic, starts=starts))


def _followed(run: TrainingRun | TwinRun, kept: Path, log_folder: Path | None, stop: Stop) -> bool:
    """Trains to the end, or until it is asked to stop: then this is False, and a run without a twin is kept."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with ExitStack() as stack:
        bar = stack.enter_context(Progress(*columns, console=Console(stderr=True)))
        log = stack.enter_context(TrainingLog(log_folder)) if log_folder else None
        task = bar.add_task("training", total=None)
        for told in run.rounds():
            bar.update(task, completed=told.steps, total=told.of, description=_told(told, isinstance(run, TwinRun)))
            if log is not None:
                log.write(told)
            if isinstance(run, TrainingRun) and (stop.asked or told.validated):
                save_run(kept, run)
            if stop.asked:
                return False
    return True


def _told(progress: training.Progress, with_twin: bool) -> str:
    text = f"objective per slot {progress.validation:.3f} (held out), {progress.reward:.3f} (exploring)"
    if not with_twin:
        return text
    return f"{text}, twin {'on' if progress.synthetic else 'off'}, its error {progress.twin_error:.3f}"


class Stop:
    """While entered, the first Ctrl-C or SIGTERM asks to stop between two rounds; the second stops at once."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Stop:
        self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
