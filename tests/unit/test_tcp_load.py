"""The load's connections between two ends on this machine; tests/e2e/test_replies.py has real chains between."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from mininet_topos.lines import LineReader
from mininet_topos.tcp_load import TcpLoad
from tests.unit.small_worlds import line
from twin.scenario import Scenario

PORT = 28080


@pytest.fixture(autouse=True)
def _root() -> None:
    if os.geteuid() != 0:
        pytest.skip("entering a namespace needs root")


def _local() -> Scenario:
    """Both ends of the first chain are on the loopback interface, without any VNF between."""
    scenario = line()
    first, second = scenario.chains
    flow = replace(first.flow, src_ip="127.0.0.1", dst_ip="127.0.0.1", proto="tcp", dst_port=PORT)
    return replace(scenario, chains=(replace(first, flow=flow), second))


def _run(*commands: Mapping[str, Any] | float) -> list[dict[str, Any]]:
    """Gives commands, with pauses in seconds between, after a line that is read before; all events."""
    read_fd, write_fd = os.pipe()
    events: list[dict[str, Any]] = []

    first = json.dumps({"scenario": ""}) + "\n" + (json.dumps(commands[0]) + "\n")
    os.write(write_fd, first.encode())

    def command() -> None:
        for item in commands[1:]:
            if isinstance(item, float):
                time.sleep(item)
            else:
                os.write(write_fd, json.dumps(item).encode() + b"\n")
        os.close(write_fd)

    thread = threading.Thread(target=command)
    thread.start()
    reader = LineReader(read_fd)
    assert reader.first()
    hosts = {endpoint.id: {"pid": os.getpid()} for endpoint in line().endpoints}
    TcpLoad(_local(), hosts, lambda event: events.append(dict(event))).serve(reader)
    thread.join()
    os.close(read_fd)
    return events


def test_connections_send_both_ways_and_every_byte_is_accounted_for() -> None:
    start = {"op": "start", "chain": "one", "connections": 4, "messages_per_s": 50, "message_bytes": 4000}
    events = _run(start, 0.7, {"op": "stop"}, 1.0)
    account = events[-1]["chains"]["one"]
    assert events[-1]["event"] == "tcp_ledger"
    assert (account["connections"], account["established"]) == (4, 4)
    assert [account[key] for key in ("refused", "reset", "ended", "incomplete", "wrong_words")] == [0] * 5
    assert account["peers"] == ["127.0.0.1"]
    for direction in (account["there"], account["back"]):
        assert direction["sent_bytes"] == direction["received_bytes"] >= 4 * 4000


def test_an_impossible_load_is_an_error_in_words() -> None:
    events = _run({"op": "start", "chain": "two"}, {"op": "start", "chain": "one", "connections": 0}, {"op": "x"})
    assert [event["event"] for event in events] == ["error"] * 3
    assert "'two' is no chain of TCP" in events[0]["message"]
