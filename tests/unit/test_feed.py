"""The events that pages follow: every reader at its own place, none in another's way."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from controller.feed import HEARTBEAT_S, MOST_READERS, Feed, Readers, TooManyReaders


class Site:
    """A feed with a snapshot that counts, and a clock that only sleeps."""

    def __init__(self, *, kept: int = 100) -> None:
        self.feed, self.slept_s, self.snapshots = Feed("abc", kept=kept), 0.0, 0
        self.readers = Readers(self.feed, self._snapshot, self._sleep)

    def _snapshot(self) -> object:
        self.snapshots += 1
        return {"snapshot": self.snapshots}

    def _sleep(self, seconds: float) -> None:
        self.slept_s += seconds

    def say(self, *numbers: int) -> None:
        for number in numbers:
            self.feed.publish("said", lambda n=number: {"n": n})  # type: ignore[misc]


def _parsed(chunk: bytes) -> list[tuple[str, str, object]]:
    """(id, kind, body) of each event of a chunk."""
    found = []
    for frame in chunk.decode().removesuffix("\n\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in frame.split("\n"))
        found.append((fields["id"], fields["event"], json.loads(fields["data"])))
    return found


def _begun(site: Site, last_id: str = "") -> Iterator[bytes]:
    stream = site.readers.open(last_id)
    assert next(stream).startswith(b"retry: ")
    return stream


def test_a_reader_gets_a_snapshot_then_what_is_new_in_order() -> None:
    site = Site()
    stream = _begun(site)
    ((_, kind, _),) = _parsed(next(stream))
    assert kind == "snapshot"
    site.say(1, 2)
    assert _parsed(next(stream)) == [("abc-1", "said", {"n": 1}), ("abc-2", "said", {"n": 2})]


def test_a_reader_that_was_away_resumes_behind_the_last_event_it_has() -> None:
    site = Site()
    other, stream = _begun(site), _begun(site)
    next(other)
    next(stream)
    site.say(1)
    ((last_id, _, _),) = _parsed(next(stream))
    stream.close()  # type: ignore[attr-defined]
    site.say(2, 3)
    assert [body for _, _, body in _parsed(next(_begun(site, last_id)))] == [{"n": 2}, {"n": 3}]
    assert site.snapshots == 2


@pytest.mark.parametrize("last_id", ["", "abc-999", "xyz-1", "abc--1", "abc-1e3", "\x00", "abc-" + "9" * 40])
def test_an_id_that_is_not_known_gets_a_snapshot(last_id: str) -> None:
    site = Site()
    ((_, kind, _),) = _parsed(next(_begun(site, last_id)))
    assert kind == "snapshot"


def test_a_reader_that_is_too_slow_gets_a_snapshot_and_holds_nobody_up() -> None:
    site = Site(kept=3)
    slow, quick = _begun(site), _begun(site)
    next(slow)
    next(quick)
    for number in range(10):
        site.say(number)
        assert _parsed(next(quick))[0][2] == {"n": number}
    ((_, kind, _),) = _parsed(next(slow))
    assert kind == "snapshot"
    site.say(10)
    assert _parsed(next(slow))[0][2] == {"n": 10}


def test_exactly_as_many_as_are_kept_is_not_too_slow() -> None:
    site = Site(kept=3)
    stream = _begun(site)
    next(stream)
    site.say(1, 2, 3)
    assert len(_parsed(next(stream))) == 3


def test_while_nobody_reads_nothing_is_built_and_what_was_missed_is_a_snapshot() -> None:
    site = Site()
    stream = _begun(site)
    next(stream)
    site.say(1)
    ((last_id, _, _),) = _parsed(next(stream))
    stream.close()  # type: ignore[attr-defined]
    site.feed.publish("said", lambda: pytest.fail("built for nobody"))
    ((_, kind, _),) = _parsed(next(_begun(site, last_id)))
    assert kind == "snapshot"


def test_a_quiet_stream_gives_a_sign_of_life() -> None:
    site = Site()
    stream = _begun(site)
    next(stream)
    assert next(stream).startswith(b":")
    assert site.slept_s == pytest.approx(HEARTBEAT_S)


def test_the_number_of_readers_is_bounded_and_a_place_comes_free_once() -> None:
    site = Site()
    streams = [site.readers.open("") for _ in range(MOST_READERS)]
    with pytest.raises(TooManyReaders):
        site.readers.open("")
    for _ in range(2):
        streams[0].close()  # type: ignore[attr-defined]
    site.readers.open("")
    with pytest.raises(TooManyReaders):
        site.readers.open("")
