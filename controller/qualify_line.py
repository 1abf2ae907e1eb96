"""The way to one switch that is tried out: asks and waits, in the green thread of its caller."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from controller import openflow, openflow_replies
from controller.flow_rule import PORT_CONTROLLER, PORT_TABLE, FlowRule, Output
from controller.openflow_replies import FlowCounters, PacketIn, PortCounters, SwitchError, untagged
from controller.scratch import packet_number
from twin.errors import VnftwinError

ANSWER_S = 5.0
_POLL_S = 0.001


class NoAnswer(VnftwinError):
    """The switch left, or did not say that it had done what it was told."""


@dataclass(frozen=True, slots=True)
class Came:
    """A scratch packet that came back, by its number and the tag that it had (None: none)."""

    number: int
    tag: int | None


@dataclass(slots=True)
class Line:
    """One connected switch. `send` gives messages and returns their transaction ids; `tables` as the switch said."""

    switch: str
    send: Callable[[Iterable[bytes]], Sequence[int]]
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    tables: int = 0
    ports: tuple[int, ...] = ()
    gone: bool = False
    came: list[Came] = field(default_factory=list)
    _parts: dict[int, list[Any]] = field(default_factory=dict)
    _whole: set[int] = field(default_factory=set)
    _errors: dict[int, SwitchError] = field(default_factory=dict)

    # ---- what the switch says (called by controller.qualify_app)

    def replied(self, message: Any) -> None:
        """A reply; of several parts, one."""
        self._parts.setdefault(message.xid, []).append(message)
        if not (hasattr(message, "flags") and openflow_replies.more_follows(message)):
            self._whole.add(message.xid)

    def refused(self, error: SwitchError) -> None:
        self._errors[error.xid] = error

    def packet_in(self, packet: PacketIn) -> None:
        tag, frame = untagged(packet.data)
        if (number := packet_number(frame)) is not None:
            self.came.append(Came(number, tag))

    # ---- what it is asked

    def barrier(self) -> float | None:
        """How long its answer took, in seconds; None where none came within ANSWER_S."""
        began_s = self.clock()
        return None if self._ask(openflow.barrier_request()) is None else self.clock() - began_s

    def change(self, messages: Sequence[bytes]) -> list[SwitchError]:
        """Sends changes and waits until they are done; what was refused of them. NoAnswer."""
        xids = self.send(messages)
        if self.barrier() is None:
            raise NoAnswer(f"no answer to a barrier within {ANSWER_S:g} s")
        return [self._errors[xid] for xid in xids if xid in self._errors]

    def counters(self) -> list[FlowCounters] | None:
        """Every rule that it has, whoever's, with its counters; None where it does not say."""
        parts = self._ask(openflow.flow_stats_request(ours_only=False))
        return parts and [counter for part in parts for counter in openflow_replies.flow_counters(self.switch, part)]

    def rules(self) -> frozenset[FlowRule] | None:
        counters = self.counters()
        return None if counters is None else frozenset(counter.rule for counter in counters)

    def port_counters(self) -> list[PortCounters] | None:
        parts = self._ask(openflow.port_stats_request())
        return parts and [counter for part in parts for counter in openflow_replies.port_counters(part)]

    def inject(self, frame: bytes) -> None:
        """A packet-out through the tables."""
        self.send((openflow.packet_out(frame, PORT_CONTROLLER, (Output(PORT_TABLE),)),))

    def _ask(self, request: bytes) -> list[Any] | None:
        """All parts of the answer; None where it was refused or did not come in time."""
        (xid,) = self.send((request,))
        deadline_s = self.clock() + ANSWER_S
        while xid not in self._whole and xid not in self._errors and self.clock() < deadline_s:
            if self.gone:
                raise NoAnswer("the switch left in the midst of it")
            self.sleep(_POLL_S)
        return self._parts.pop(xid, None) if xid in self._whole else None
