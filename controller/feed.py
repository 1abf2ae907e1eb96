"""What goes to every page that is open: server-sent events, kept for a while, each reader at its own place.

There is one bounded list of events, already in the form in which they go over the wire, and no queue per reader: a
reader that was away resumes behind the last event it has, and one that is too slow gets a snapshot instead of what it
missed. So nobody who reads holds up anybody who publishes.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

KEPT = 1024
MOST_READERS = 32
LOOK_S = 0.05
HEARTBEAT_S = 10.0
RETRY_MS = 1000


class TooManyReaders(Exception):
    """As many are reading as may."""


@dataclass(frozen=True, slots=True)
class Event:
    """`number` counts from 1; `frame` is the event as it is sent."""

    number: int
    frame: bytes


class Feed:
    """The last events. `epoch` tells one feed's ids from those of an earlier controller's."""

    def __init__(self, epoch: str, *, kept: int = KEPT) -> None:
        self._epoch, self._events, self._made = epoch, deque[Event](maxlen=kept), 0
        self._whole_since = 0  # events behind this number are all here
        self.readers = 0

    @property
    def end(self) -> int:
        """The number of the newest event."""
        return self._made

    def publish(self, kind: str, build: Callable[[], object]) -> None:
        """Adds an event; while nobody reads it is not even built, and who comes then gets a snapshot."""
        self._made += 1
        if self.readers == 0:
            self._events.clear()
            self._whole_since = self._made
            return
        if len(self._events) == self._events.maxlen:
            self._whole_since = self._events[0].number
        self._events.append(Event(self._made, self.frame(kind, build(), self._made)))

    def after(self, number: int) -> list[Event] | None:
        """All events behind this one; None where some of them are gone."""
        if not self._whole_since <= number <= self._made:
            return None
        return [event for event in self._events if event.number > number]

    def number(self, ident: str) -> int | None:
        """The number of an event by its id, None where it is none of this feed's."""
        epoch, _, digits = ident.partition("-")
        return int(digits) if epoch == self._epoch and digits.isdecimal() and len(digits) < 16 else None

    def frame(self, kind: str, body: object, number: int) -> bytes:
        """One event on the wire. JSON has no line breaks, so it is one line of data."""
        content = json.dumps(body, separators=(",", ":"))
        return f"id: {self._epoch}-{number}\nevent: {kind}\ndata: {content}\n\n".encode()


class Readers:
    """Opens streams on a feed. `snapshot` describes everything that a page shows; `sleep` takes seconds."""

    def __init__(self, feed: Feed, snapshot: Callable[[], object], sleep: Callable[[float], object]) -> None:
        self._feed, self._snapshot, self._sleep = feed, snapshot, sleep

    def open(self, last_id: str) -> Iterator[bytes]:
        """A stream, without end, behind the event with this id ('' or unknown: it begins with a snapshot).

        TooManyReaders at once. Close the iterator to give the place free.
        """
        if self._feed.readers >= MOST_READERS:
            raise TooManyReaders(f"{MOST_READERS} pages are open already")
        self._feed.readers += 1
        return Stream(self._chunks(self._feed.number(last_id)), self._left)

    def _left(self) -> None:
        self._feed.readers -= 1

    def _chunks(self, place: int | None) -> Iterator[bytes]:
        feed, quiet_s = self._feed, 0.0
        yield f"retry: {RETRY_MS}\n\n".encode()
        while True:
            news = None if place is None else feed.after(place)
            if news is None:
                place = feed.end
                yield feed.frame("snapshot", self._snapshot(), place)
            elif news:
                place, quiet_s = news[-1].number, 0.0
                yield b"".join(event.frame for event in news)
            elif quiet_s >= HEARTBEAT_S:
                quiet_s = 0.0
                yield b": still here\n\n"
            else:
                self._sleep(LOOK_S)
                quiet_s += LOOK_S


class Stream(Iterator[bytes]):
    """Chunks of one reader; closing it, also before the first chunk was asked for, tells `left` once."""

    def __init__(self, chunks: Iterator[bytes], left: Callable[[], None]) -> None:
        self._chunks, self._left, self._open = chunks, left, True

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._left()
