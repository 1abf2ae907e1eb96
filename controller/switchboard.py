"""The connected switches: numbers every message, confirms by barrier, ties every error to the message it answers.

Green threads may call it; nothing here blocks but `barrier` and `rules`, and they only their own green thread and never
longer than they are told.
"""

from __future__ import annotations

import itertools
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import eventlet
from eventlet.event import Event

from controller.flow_rule import FlowRule
from controller.openflow import HEAD_BYTES, barrier_request, describe, flow_stats_request, stamp
from controller.openflow_replies import SwitchError
from twin.errors import VnftwinError

Send = Callable[[bytes], None]
_ERRORS_KEPT = 256
_REMEMBERED = 4096  # transaction ids whose owner is kept, for errors that come late


class SwitchGone(VnftwinError):
    """A switch that is not connected was to be told something."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One message that a switch refused; `what` says what the message was to do ('' where it is not known any more)."""

    switch: str
    what: str
    error: SwitchError

    def __str__(self) -> str:
        return f"switch {self.switch} refused {self.what or 'a message'}: {self.error}"


class SwitchRefused(VnftwinError):
    """A switch answered messages before a barrier with errors."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        self.refusals = tuple(refusals)
        super().__init__("; ".join(map(str, refusals)))


class BarrierLate(VnftwinError):
    """Switches did not answer in time: what they have done is not known."""

    def __init__(self, switches: Sequence[str], what: str = "a barrier") -> None:
        self.switches = tuple(switches)
        super().__init__(f"switch {', '.join(switches)} did not answer {what} in time")


_GONE = object()


@dataclass(frozen=True, slots=True)
class _Sent:
    """A message that may still be refused: who sent it, and its beginning, which says what it was."""

    sender: object
    head: bytes


@dataclass(slots=True)
class _Line:
    """One connected switch. `errors` are those not yet told, with the green thread whose message each answers."""

    send: Send
    errors: deque[tuple[object, Refusal]] = field(default_factory=lambda: deque(maxlen=_ERRORS_KEPT))
    waiting: dict[int, Event] = field(default_factory=dict)


class Switchboard:
    """All switches by their scenario id."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}
        self._xids = itertools.cycle(range(1, 2**31))
        self._sent: OrderedDict[tuple[str, int], _Sent] = OrderedDict()
        self.refused_total: Counter[str] = Counter()  # messages refused, by the error's name
        self.late_total: Counter[str] = Counter()  # answers that did not come in time, by switch

    @property
    def errors_total(self) -> int:
        return self.refused_total.total()

    def connected(self, switch: str, send: Send) -> None:
        self.disconnected(switch)
        self._lines[switch] = _Line(send)

    def disconnected(self, switch: str) -> None:
        """Wakes whoever waits for this switch."""
        line = self._lines.pop(switch, None)
        for waiter in list(line.waiting.values()) if line else ():
            waiter.send(_GONE)

    def is_connected(self, switch: str) -> bool:
        return switch in self._lines

    def send(self, switch: str, messages: Iterable[bytes]) -> None:
        """Sends messages in order. SwitchGone where there is no connection."""
        line = self._line(switch)
        for message in messages:
            self._send(switch, line, message)

    def barrier(self, switches: Sequence[str], *, timeout_s: float) -> None:
        """Returns when every switch has done all that it was sent.

        SwitchRefused when one of them answered a message of the calling green thread with an error since its barrier
        before; BarrierLate after `timeout_s`; SwitchGone when one of them is not or no longer connected. A refusal is
        told first: it is known, the others are not.
        """
        lines = [self._line(switch) for switch in switches]
        asked = [self._ask(*pair, barrier_request()) for pair in zip(switches, lines, strict=True)]
        answers = self._answers(lines, asked, timeout_s)
        refusals = [refusal for line in lines for refusal in _take_errors(line)]
        if refusals:
            raise SwitchRefused(refusals)
        self._check(switches, answers, "a barrier")

    def rules(self, switch: str, *, timeout_s: float) -> frozenset[FlowRule]:
        """Every rule of ours that the switch has now, as it says itself. BarrierLate, SwitchGone as for a barrier."""
        line = self._line(switch)
        answers = self._answers([line], [self._ask(switch, line, flow_stats_request())], timeout_s)
        self._check((switch,), answers, "for its rules")
        rules: frozenset[FlowRule] = answers[0]
        return rules

    def barrier_replied(self, switch: str, xid: int) -> None:
        """The answer to a barrier; one that nobody waits for any more changes nothing."""
        self._answered(switch, xid, True)

    def rules_told(self, switch: str, xid: int, rules: Iterable[FlowRule]) -> None:
        """All rules of a switch, whether `rules` waits for them or they were asked for otherwise."""
        self._answered(switch, xid, frozenset(rules))

    def error(self, switch: str, error: SwitchError) -> Refusal:
        """An error message came in; one that answers none of ours is only counted."""
        self.refused_total[error.name] += 1
        line, sent = self._lines.get(switch), self._sent.get((switch, error.xid))
        refusal = Refusal(switch, describe(sent.head) if sent else "", error)
        if line is not None and sent is not None:
            line.errors.append((sent.sender, refusal))
        return refusal

    def _answered(self, switch: str, xid: int, answer: object) -> None:
        line = self._lines.get(switch)
        waiter = line.waiting.pop(xid, None) if line else None
        if waiter is not None:
            waiter.send(answer)

    def _line(self, switch: str) -> _Line:
        try:
            return self._lines[switch]
        except KeyError:
            raise SwitchGone(f"switch {switch} is not connected") from None

    def _send(self, switch: str, line: _Line, message: bytes) -> int:
        xid = next(self._xids)
        self._sent[switch, xid] = _Sent(eventlet.getcurrent(), message[:HEAD_BYTES])
        if len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)
        line.send(stamp(message, xid))
        return xid

    def _ask(self, switch: str, line: _Line, request: bytes) -> tuple[int, Event]:
        waiter = Event()
        xid = self._send(switch, line, request)
        line.waiting[xid] = waiter
        return xid, waiter

    def _answers(self, lines: Sequence[_Line], asked: Sequence[tuple[int, Event]], timeout_s: float) -> list[Any]:
        """What each switch answered; None for those that did not within `timeout_s`, all together."""
        deadline_s = eventlet.hubs.get_hub().clock() + timeout_s
        answers = []
        for line, (xid, waiter) in zip(lines, asked, strict=True):
            left_s = deadline_s - eventlet.hubs.get_hub().clock()
            answers.append(waiter.wait(timeout=max(left_s, 0.001)))
            line.waiting.pop(xid, None)
        return answers

    def _check(self, switches: Sequence[str], answers: Sequence[object], what: str) -> None:
        late = [switch for switch, answer in zip(switches, answers, strict=True) if answer is None]
        self.late_total.update(late)
        if late:
            raise BarrierLate(late, what)
        for switch, answer in zip(switches, answers, strict=True):
            if answer is _GONE:
                raise SwitchGone(f"switch {switch} left before it had answered {what}")


def _take_errors(line: _Line) -> list[Refusal]:
    """The refusals of the calling green thread's messages, each told once."""
    me = eventlet.getcurrent()
    mine = [refusal for sender, refusal in line.errors if sender is me]
    line.errors = deque((entry for entry in line.errors if entry[0] is not me), maxlen=_ERRORS_KEPT)
    return mine
