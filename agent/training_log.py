"""The course of a training run as TensorBoard scalars, over real environment steps (docs/agent.md, "Training")."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

from tensorboardX import SummaryWriter

from agent.training import Progress

SCALARS: Mapping[str, Callable[[Progress], float]] = {
    "objective/exploring": lambda p: p.reward,
    "objective/held_out": lambda p: p.validation,
    "loss/policy": lambda p: p.losses.policy,
    "loss/value": lambda p: p.losses.value,
    "policy/entropy": lambda p: p.losses.entropy,
    "critic/explained": lambda p: p.losses.explained,
    "gradient/norm": lambda p: p.losses.grad_norm,
    "twin/hold_out_error": lambda p: p.twin_error,
    "twin/synthetic_slots": lambda p: p.synthetic,
}
_ONCE_NEW = {"objective/held_out"}  # a score that was logged again at every step would look like a new one


class TrainingLog:
    """Writes into a folder; a run that is resumed goes on in the same one. OSError where it cannot be written."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = SummaryWriter(str(folder))

    def write(self, progress: Progress) -> None:
        for name, value in SCALARS.items():
            found = value(progress)
            if (progress.validated or name not in _ONCE_NEW) and not math.isnan(found):
                self._writer.add_scalar(name, found, progress.steps)

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
