"""The stream of events over real HTTP: resumed, refused, and held up by nobody."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from controller.client import ControllerClient
from controller.feed import MOST_READERS
from tests.page.browser import WAIT_S

pytestmark = pytest.mark.slow
Frame = dict[str, str]


@contextmanager
def _frames(url: str, last_id: str = "") -> Iterator[Iterator[Frame]]:
    """The events of one reader, comments left out."""
    headers = {"Last-Event-ID": last_id} if last_id else {}
    with closing(requests.get(f"{url}api/v1/events", headers=headers, stream=True, timeout=20)) as reply:
        assert reply.status_code == 200, reply.text
        assert reply.headers["Content-Type"].startswith("text/event-stream")
        yield _parsed(reply.iter_lines(chunk_size=1, decode_unicode=True))


def _parsed(lines: Iterator[Any]) -> Iterator[Frame]:
    frame: Frame = {}
    for line in lines:
        if line:
            name, _, value = str(line).partition(": ")
            frame[name] = value
        elif frame:
            if "data" in frame:
                yield frame
            frame = {}


def _next(frames: Iterator[Frame], kind: str) -> Frame:
    return next(frame for frame in frames if frame["event"] == kind)


def test_a_snapshot_first_then_a_reading_every_second(url: str) -> None:
    with _frames(url) as frames:
        first = next(frames)
        assert first["event"] == "snapshot"
        snapshot = json.loads(first["data"])
        assert {"topology", "reading", "history", "columns", "decisions", "migrations", "proposals"} == snapshot.keys()
        row = json.loads(_next(frames, "reading")["data"])["row"]
        assert len(row) == len(snapshot["columns"])


def test_who_comes_back_gets_what_was_missed_and_who_makes_ids_up_a_snapshot(url: str) -> None:
    with _frames(url) as somebody:
        last_id = _next(somebody, "reading")["id"]
        _next(somebody, "reading")
        with _frames(url, last_id) as frames:
            missed = next(frames)
            assert missed["event"] != "snapshot"
            assert int(missed["id"].rpartition("-")[2]) == int(last_id.rpartition("-")[2]) + 1
        for made_up in ("0", "deadbeef-1", last_id.partition("-")[0] + "-99999999", "\x7f"):
            with _frames(url, made_up) as frames:
                assert next(frames)["event"] == "snapshot"


def test_one_who_does_not_read_holds_nobody_up(url: str) -> None:
    where = urlsplit(url)
    with socket.create_connection((where.hostname, where.port)) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        deaf.sendall(f"GET /api/v1/events HTTP/1.1\r\nHost: {where.netloc}\r\n\r\n".encode())
        with _frames(url) as frames:
            for _ in range(3):
                _next(frames, "reading")
        assert ControllerClient(url).get("state")["handler_errors"] == 0


def test_more_than_may_read_are_told_and_places_come_free(url: str) -> None:
    replies = [requests.get(f"{url}api/v1/events", stream=True, timeout=20) for _ in range(MOST_READERS + 2)]
    statuses = [reply.status_code for reply in replies]
    for reply in replies:
        reply.close()
    assert statuses[0] == 200
    assert statuses[-1] == 503
    deadline = time.monotonic() + WAIT_S  # that a reader has left shows when it is written to, once or twice a second
    while time.monotonic() < deadline:
        reply = requests.get(f"{url}api/v1/events", stream=True, timeout=20)
        reply.close()
        if reply.status_code == 200:
            return
        time.sleep(0.2)
    pytest.fail("no place came free")


def test_only_reading_is_possible(url: str) -> None:
    reply = requests.post(f"{url}api/v1/events", json={}, timeout=20)
    assert (reply.status_code, reply.headers["Allow"]) == (405, "GET")
