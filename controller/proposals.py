"""What the policy would move while a person decides (mode *advise*): proposed, then accepted, dismissed or withdrawn.

At most one proposal is open: the policy wants one move at a time, of the network as it is. A proposal that it does not
want any more is withdrawn; one that a person dismissed is not made again for a while.
"""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from enum import StrEnum

from agent.decision import Move, Prediction
from controller.records import Refused, UnknownName

KEPT = 200
DISMISSED_S = 120.0  # a move that a person does not want is not proposed for so long
CLOSED = "closed"  # the refusal: the proposal is not open any more


class ProposalStatus(StrEnum):
    OPEN = "open"
    ACCEPTED = "accepted"
    DISMISSED = "dismissed"
    WITHDRAWN = "withdrawn"


@dataclass(slots=True)
class Proposal:
    """One move that waits for a person. `run_s` are seconds since the controller's start.

    `missed_ms_s` is what waiting has cost so far in delay (ms of the mean delay times seconds), `missed_j` in energy:
    the predicted gain times the time it was open.
    """

    id: str
    vnf: str
    source: str
    target: str
    reason: str
    prediction: Prediction
    proposed_s: float
    run_s: float
    status: ProposalStatus = ProposalStatus.OPEN
    ended_s: float | None = None
    migration: str = ""
    missed_ms_s: float = 0.0
    missed_j: float = 0.0

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "status": self.status.value}


class Proposals:
    """Every proposal of this run, the last `KEPT`. Times are seconds on the controller's clock."""

    def __init__(self) -> None:
        self.all: deque[Proposal] = deque(maxlen=KEPT)
        self._made = 0
        self._counted_s = 0.0
        self._dismissed_s: dict[tuple[str, str], float] = {}

    @property
    def open(self) -> Proposal | None:
        """The one that waits for a person."""
        return self.all[-1] if self.all and self.all[-1].status is ProposalStatus.OPEN else None

    def offer(self, move: Move, source: str, *, now_s: float, started_s: float) -> Proposal:
        """The policy wants this move now; the same one again only renews what is predicted of it."""
        known = self.open
        if known is not None and (known.vnf, known.target) == (move.vnf, move.target):
            self._count(known, now_s)
            known.prediction, known.reason = move.prediction, move.reason
            return known
        self.withdraw(now_s)
        self._made += 1
        self._counted_s = now_s
        self.all.append(Proposal(
            f"p{self._made}", move.vnf, source, move.target, move.reason, move.prediction, now_s, now_s - started_s
        ))  # fmt: skip
        return self.all[-1]

    def withdraw(self, now_s: float) -> None:
        """The policy wants nothing of the kind any more."""
        if self.open is not None:
            self._close(self.open, ProposalStatus.WITHDRAWN, now_s)

    def accept(self, ident: str, migration: str, *, now_s: float) -> Proposal:
        """A person wanted it: `migration` carries it out. UnknownName, or Refused where it is not open."""
        proposal = self.still_open(ident)
        self._close(proposal, ProposalStatus.ACCEPTED, now_s)
        proposal.migration = migration
        return proposal

    def dismiss(self, ident: str, *, now_s: float) -> Proposal:
        """A person does not want it. UnknownName, or Refused where it is not open."""
        proposal = self.still_open(ident)
        self._close(proposal, ProposalStatus.DISMISSED, now_s)
        self._dismissed_s[proposal.vnf, proposal.target] = now_s
        return proposal

    def dismissed(self, now_s: float) -> frozenset[tuple[str, str]]:
        """Moves (VNF, server) that a person has dismissed lately."""
        return frozenset(move for move, at_s in self._dismissed_s.items() if now_s - at_s < DISMISSED_S)

    def still_open(self, ident: str) -> Proposal:
        proposal = next((p for p in self.all if p.id == ident), None)
        if proposal is None:
            raise UnknownName(f"unknown proposal {ident}")
        if proposal.status is not ProposalStatus.OPEN:
            raise Refused(CLOSED, f"{ident} is {proposal.status.value}")
        return proposal

    def _close(self, proposal: Proposal, status: ProposalStatus, now_s: float) -> None:
        self._count(proposal, now_s)
        proposal.status, proposal.ended_s = status, now_s

    def _count(self, proposal: Proposal, now_s: float) -> None:
        """Adds what the time since the last count would have won."""
        waited_s, gain = now_s - self._counted_s, proposal.prediction
        self._counted_s = now_s
        proposal.missed_ms_s += waited_s * (gain.delay_now_ms - gain.delay_after_ms)
        proposal.missed_j += waited_s * (gain.power_now_w - gain.power_after_w)
