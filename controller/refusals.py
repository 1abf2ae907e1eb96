"""The names of all refusals of a move: labels and keys are one of these (docs/rest.md)."""

from __future__ import annotations

from controller.modes import NO_MODE
from controller.thrift import Restraint
from twin.feasibility import Refusal

NOT_READY, KEY_REUSED = "not_ready", "key_reused"  # of a request, whatever it asks for
REFUSALS = (NOT_READY, KEY_REUSED, NO_MODE, *dict.fromkeys([*map(str, Refusal), *map(str, Restraint)]))
