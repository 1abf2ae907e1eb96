"""The steps that plans are made of (docs/steering.md, "Plans"): values; an executor performs them."""

from __future__ import annotations

from dataclasses import dataclass

from controller.flow_rule import FlowRule, Match
from twin.errors import VnftwinError


@dataclass(frozen=True, slots=True)
class StartVnf:
    """Start `instance` of a VNF on the server `target` and attach it to its switch.

    A `standby` forwards nothing until it has taken over from another instance. A `hollow` one is a place without a
    process, into which another instance's will be restored.
    """

    vnf: str
    target: str
    instance: str
    standby: bool = False
    hollow: bool = False


@dataclass(frozen=True, slots=True)
class CopyState:
    """Copy the state of a VNF from the instance `source`, which goes on serving, until `target` has nearly all."""

    vnf: str
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Make `heir` the serving instance in place of `owner`, which sends on to it whatever packets still reach it."""

    vnf: str
    owner: str
    heir: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Dump the process of an instance and end it; its place and its port stay."""

    vnf: str
    instance: str


@dataclass(frozen=True, slots=True)
class Restore:
    """Bring the dumped process of `source` back to life in the place of `target`, which may be its own."""

    vnf: str
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Halt:
    """Stop an instance that serves on `server`; its state is lost."""

    vnf: str
    server: str
    instance: str


@dataclass(frozen=True, slots=True)
class InstallRules:
    """Add rules that no packet reaches yet."""

    rules: tuple[FlowRule, ...]


@dataclass(frozen=True, slots=True)
class SwapEntry:
    """Modify (strict) the one rule that decides which way new packets go."""

    old: FlowRule
    new: FlowRule


@dataclass(frozen=True, slots=True)
class InstallEntries:
    """Add rules that packets reach from the moment they are there."""

    rules: tuple[FlowRule, ...]


@dataclass(frozen=True, slots=True)
class Barrier:
    """Wait until each of these switches has done all that it was sent."""

    switches: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Drain:
    """Wait until packets in flight have arrived."""

    wait_ms: float


@dataclass(frozen=True, slots=True)
class DeleteRules:
    """Delete (strict) rules; those that are gone already are no error."""

    rules: tuple[FlowRule, ...]


@dataclass(frozen=True, slots=True)
class StopVnf:
    """Stop an instance of a VNF and detach it; one that is gone already is no error."""

    vnf: str
    instance: str


@dataclass(frozen=True, slots=True)
class Proof:
    """A packet put in at `switch` as if it came by `in_port`, to be handed over by switch `caught_at` with this tag on.

    From `PORT_CONTROLLER` it has the tag from the start; by any other port an entry rule has to put it on. `like` holds
    what else the packet is like.
    """

    switch: str
    in_port: int
    tag: int
    caught_at: str
    like: Match


@dataclass(frozen=True, slots=True)
class ConfirmPath:
    """Send these packets, again and again for a while, until each has been seen.

    `captures`: the rules that hand them over, added again first. After a swap a plan may be done a second time, by a
    controller that was restarted when they had been deleted already.
    """

    proofs: tuple[Proof, ...]
    captures: tuple[FlowRule, ...] = ()


class Unconfirmed(VnftwinError):
    """A packet that was to show that a way is there was not seen in time."""


Carried = CopyState | TakeOver | Checkpoint | Restore | Halt  # what becomes of a VNF's state
# May be taken back: an entry that was added is deleted again, and packets at its port are shut out as before.
Reversible = StartVnf | Carried | InstallRules | ConfirmPath | InstallEntries | Barrier | Drain
Step = Reversible | SwapEntry | DeleteRules | StopVnf
