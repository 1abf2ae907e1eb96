"""One tree of errors; each knows the exit code of the command it ends.

VnftwinError            1   something failed while running
├── InputError          2   what the user gave is wrong; nothing was changed
│   └── ScenarioError   2   a scenario file, with every problem in it at once
└── EnvironmentLack     1   this machine lacks something; says the command that mends it
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class VnftwinError(Exception):
    """An error that is told to the user in one line, without a traceback."""

    exit_code = 1


class InputError(VnftwinError):
    """What the user gave is wrong."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a file: where it is and what it is."""

    file: str
    line: int
    subject: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.subject}: {self.message}"


class ScenarioError(InputError):
    """Every problem found in a scenario file, in the order of its lines."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in problems))


class EnvironmentLack(VnftwinError):
    """Something this machine lacks, with the command that mends it."""

    def __init__(self, what: str, mend: str) -> None:
        self.what, self.mend = what, mend
        super().__init__(f"{what} (mend: {mend})")
