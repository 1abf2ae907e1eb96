"""State handed over between two instances of a VNF: the controller introduces them (docs/handover.md).

Each gets one end of a socket pair through its control socket, and a secret by which they know each other. The session
lives in the two instances: it survives the controller. All functions block; they are for threads.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from controller.containers import ContainerEngine, ContainerError, Instance

COPY_TIMEOUT_S = 30.0
TAKE_TIMEOUT_S = 5.0
_POLL_S, _POLL_GROWTH, _POLL_MOST_S = 0.005, 1.3, 0.1  # a remote instance runs a program for every answer
_AGAIN = ("not_in_sync", "timeout", "not_ready")  # may be otherwise in a moment


@dataclass(frozen=True, slots=True)
class End:
    """One of the two instances, and the engine that reaches it."""

    engine: ContainerEngine
    instance: Instance

    @property
    def name(self) -> str:
        return self.instance.name

    def ask(self, request: str, *, pass_fd: int | None = None) -> Mapping[str, object]:
        """ContainerError when it refuses or is not there."""
        return self.engine.ask(self.instance, request, pass_fd=pass_fd)

    def is_gone(self) -> bool:
        """Whether its process has ended (one that does not answer may still serve)."""
        return not any(i.name == self.name and i.running for i in self.engine.instances())


@dataclass(frozen=True, slots=True)
class CopyReport:
    """A copy in step with its owner: entries and removals sent, bytes of the stream, rounds, seconds."""

    entries: int
    bytes: int
    rounds: int
    took_s: float


@dataclass(frozen=True, slots=True)
class TakeOverReport:
    """`freeze_us`: from the last packet of the former owner to the heir's word that it serves, measured by the owner.

    All is zero or empty where the former owner is gone and cannot tell. `last_entries` were sent during the freeze.
    """

    freeze_us: int
    last_entries: int
    digest: str


@dataclass(frozen=True, slots=True)
class _Status:
    """What `handover status` says (docs/handover.md)."""

    session: str
    role: str
    phase: str
    standby: bool
    whole_copy: bool
    entries_sent: int
    dirty: int
    rounds: int
    bytes: int
    freeze_us: int
    last_entries: int
    digest: str
    error: str


def can_hand_over(end: End) -> bool:
    """Whether it has state, and can give it to another instance of its kind."""
    return end.ask("health").get("hand_over", 0) != 0


def is_standby(end: End) -> bool:
    """Whether it stands by for another instance, or has handed over to one, instead of forwarding."""
    return end.ask("health").get("standby") is True


def connect(source: End, target: End) -> str:
    """The session of the two, an existing one where they share it. ContainerError where one of them cannot."""
    here, there = _status(source), _status(target)
    if here.session and here.session == there.session:
        return here.session
    for end, status in ((source, here), (target, there)):
        if status.session:
            end.ask("handover leave")
    session, secret = secrets.token_hex(8), secrets.token_hex(32)
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with left, right:
        source.ask(f"handover join {session} {secret}", pass_fd=left.fileno())
        try:
            target.ask(f"handover join {session} {secret}", pass_fd=right.fileno())
        except ContainerError:
            _leave(source)
            raise
    return session


def copy_state(source: End, target: End, *, timeout_s: float = COPY_TIMEOUT_S) -> CopyReport:
    """Returns when `target` has nearly all state of `source`, which serves meanwhile.

    ContainerError when they refuse each other, and when state changes faster than it can be copied for `timeout_s`;
    `source` then serves on and nothing is left of the copy.
    """
    began, pause_s = time.monotonic(), _POLL_S
    connect(source, target)
    while True:
        status = _status(source)
        took_s = time.monotonic() - began
        if not status.session:
            raise ContainerError(f"{source.name}: state not copied to {target.name}: {status.error}")
        if status.phase == "sync" or status.role == "heir":  # heir: has handed over already
            return CopyReport(status.entries_sent, status.bytes, status.rounds, took_s)
        if took_s > timeout_s:
            _leave(source)
            raise ContainerError(
                f"{source.name}: state not copied to {target.name} within {timeout_s:g} s: {status.dirty} entries left"
            )
        time.sleep(pause_s)
        pause_s = min(_POLL_MOST_S, _POLL_GROWTH * pause_s)


def take_over(owner: End, heir: End, *, timeout_s: float = TAKE_TIMEOUT_S) -> TakeOverReport:
    """Makes `heir` serve in place of `owner`; no error where it does already, however often it is asked.

    Works in both directions of one session. When one of them has ended, the other one serves afterwards: an heir with
    a whole copy goes on with it; an owner whose heir is gone goes on itself, and ContainerError says so.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        here, there = _look(owner), _look(heir)
        if there is None:
            raise ContainerError(f"{heir.name}: is gone, {_survivor(owner, here)}")
        if not there.standby:
            return _settled(owner, here, heir)
        if here is None:
            return _inherit(owner, heir, there)
        refusal = _ask_to_take(owner, here, heir, there)
        if time.monotonic() > deadline:
            raise ContainerError(
                f"{owner.name}: state not taken over by {heir.name}: {refusal or 'it does not say so'}"
            )
        if refusal:
            time.sleep(_POLL_S)


def _ask_to_take(owner: End, here: _Status, heir: End, there: _Status) -> str:
    """Why not yet, "" when the owner has given its state away. ContainerError for what waiting does not mend."""
    if here.phase == "committed":
        return "told to serve, but does not answer"
    if not here.session or here.session != there.session:
        reason = there.error or here.error
        raise ContainerError(f"{heir.name}: has no copy of the state of {owner.name}{reason and ': ' + reason}")
    try:
        owner.ask("handover take")
    except ContainerError as error:
        if not any(f"handover: {word}" in str(error) for word in _AGAIN):
            raise
        return str(error)
    return ""


def _settled(owner: End, here: _Status | None, heir: End) -> TakeOverReport:
    if here is None:
        return TakeOverReport(0, 0, "")
    if not here.standby:
        raise ContainerError(f"{owner.name} and {heir.name} both serve")
    return TakeOverReport(here.freeze_us, here.last_entries, here.digest)


def _inherit(owner: End, heir: End, there: _Status) -> TakeOverReport:
    """The owner has ended: the heir goes on with what it has, as of the last moment before."""
    if not there.whole_copy:
        raise ContainerError(f"{owner.name}: is gone, and {heir.name} has no whole copy of its state")
    _activate(heir)
    return TakeOverReport(0, 0, "")


def _survivor(owner: End, here: _Status | None) -> str:
    if here is None:
        return f"and so is {owner.name}"
    if here.standby:
        _activate(owner)
    return f"{owner.name} serves"


def _activate(end: End) -> None:
    """Refused as long as the instance has not read that its peer has ended, which it does within microseconds."""
    deadline = time.monotonic() + 1.0
    while True:
        try:
            end.ask("activate")
        except ContainerError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_S)
        else:
            return


def _look(end: End) -> _Status | None:
    """None: has ended. ContainerError for one that runs and does not answer."""
    try:
        return _status(end)
    except ContainerError:
        if end.is_gone():
            return None
        raise


def _leave(end: End) -> None:
    with suppress(ContainerError):
        end.ask("handover leave")


def _status(end: End) -> _Status:
    told = end.ask("handover status")

    def text(key: str) -> str:
        return str(told.get(key, ""))

    def whole(key: str) -> int:
        value = told.get(key)
        return value if isinstance(value, int) else 0

    return _Status(
        session=text("session"), role=text("role"), phase=text("phase"), standby=told.get("standby") is True,
        whole_copy=told.get("whole_copy") is True, entries_sent=whole("entries_sent"), dirty=whole("dirty"),
        rounds=whole("rounds"), bytes=whole("bytes"), freeze_us=whole("freeze_us"),
        last_entries=whole("last_entries"), digest=text("digest"), error=text("error"),
    )  # fmt: skip
