"""The connected switches: numbers every message, confirms by barrier, ties every error to the message it answers.

Green threads may call it; nothing here blocks but `barrier`, and that only its own green thread and never longer than
it is told.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import eventlet
from eventlet.event import Event

from controller.openflow import barrier_request, stamp
from controller.openflow_replies import SwitchError
from twin.errors import VnftwinError

Send = Callable[[bytes], None]
_ERRORS_KEPT = 256
_REMEMBERED = 4096  # transaction ids whose owner is kept, for errors that come late


class SwitchGone(VnftwinError):
    """A switch that is not connected was to be told something."""


class SwitchRefused(VnftwinError):
    """A switch answered one of the messages before a barrier with an error."""


class BarrierLate(VnftwinError):
    """A barrier was not answered in time: what the switch has done is not known."""


@dataclass(slots=True)
class _Line:
    """One connected switch. `errors` are those not yet told, with the green thread whose message each answers."""

    send: Send
    errors: deque[tuple[object, SwitchError]] = field(default_factory=lambda: deque(maxlen=_ERRORS_KEPT))
    waiting: dict[int, Event] = field(default_factory=dict)


class Switchboard:
    """All switches by their scenario id."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}
        self._xids = itertools.cycle(range(1, 2**31))
        self._senders: OrderedDict[tuple[str, int], object] = OrderedDict()
        self.errors_total = 0

    def connected(self, switch: str, send: Send) -> None:
        self.disconnected(switch)
        self._lines[switch] = _Line(send)

    def disconnected(self, switch: str) -> None:
        """Wakes whoever waits for this switch."""
        line = self._lines.pop(switch, None)
        for waiter in list(line.waiting.values()) if line else ():
            waiter.send(False)

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
        before; BarrierLate after `timeout_s`; SwitchGone when one of them is not or no longer connected.
        """
        waiters = [(switch, self._ask(switch)) for switch in switches]
        deadline = eventlet.hubs.get_hub().clock() + timeout_s
        for switch, (xid, waiter) in waiters:
            self._await(switch, xid, waiter, deadline - eventlet.hubs.get_hub().clock())
        refused = [f"{switch}: {error}" for switch in switches for error in self._take_errors(switch)]
        if refused:
            raise SwitchRefused("; ".join(refused))

    def barrier_replied(self, switch: str, xid: int) -> None:
        line = self._lines.get(switch)
        waiter = line.waiting.pop(xid, None) if line else None
        if waiter is not None:
            waiter.send(True)

    def error(self, switch: str, error: SwitchError) -> None:
        """An error message came in; one that answers none of ours is only counted."""
        self.errors_total += 1
        line = self._lines.get(switch)
        sender = self._senders.get((switch, error.xid))
        if line is not None and sender is not None:
            line.errors.append((sender, error))

    def _line(self, switch: str) -> _Line:
        try:
            return self._lines[switch]
        except KeyError:
            raise SwitchGone(f"switch {switch} is not connected") from None

    def _send(self, switch: str, line: _Line, message: bytes) -> int:
        xid = next(self._xids)
        self._senders[switch, xid] = eventlet.getcurrent()
        if len(self._senders) > _REMEMBERED:
            self._senders.popitem(last=False)
        line.send(stamp(message, xid))
        return xid

    def _ask(self, switch: str) -> tuple[int, Event]:
        line, waiter = self._line(switch), Event()
        xid = self._send(switch, line, barrier_request())
        line.waiting[xid] = waiter
        return xid, waiter

    def _await(self, switch: str, xid: int, waiter: Event, timeout_s: float) -> None:
        answered = waiter.wait(timeout=max(timeout_s, 0.001))
        if answered is None:
            if line := self._lines.get(switch):
                line.waiting.pop(xid, None)
            raise BarrierLate(f"switch {switch} did not answer a barrier in time")
        if not answered:
            raise SwitchGone(f"switch {switch} left before it had answered a barrier")

    def _take_errors(self, switch: str) -> list[SwitchError]:
        line, me = self._line(switch), eventlet.getcurrent()
        mine = [error for sender, error in line.errors if sender is me]
        kept = [entry for entry in line.errors if entry[0] is not me]
        line.errors = deque(kept, maxlen=_ERRORS_KEPT)
        return mine
