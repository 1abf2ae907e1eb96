"""No message may hold the parser; what switches really send is parsed as plain Ryu parses it."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ryu.exception import OFPTruncatedMessage

from controller import openflow
from controller.ryu_compat import MalformedMessage, malformed_messages, parse_message
from tests.unit.test_openflow import RULE

ROOT = Path(__file__).parents[2]
HELD_S = 2


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("!BBHI", 4, kind, 8 + len(body), 1) + body


def multipart(kind: int, body: bytes) -> bytes:
    return message(19, struct.pack("!HH4x", kind, 0) + body)


def entry(form: str, *values: int, body: bytes = b"", size: int) -> bytes:
    packed = struct.pack(form, *values)
    return packed + bytes(size - len(packed)) + body


ANY_MATCH = struct.pack("!HH4x", 1, 4)
ACTIONS = struct.pack("!HH4x", 4, 24) + struct.pack("!HHIH6x", 0, 16, 1, 128)  # apply: output to port 1
OUTPUT = struct.pack("!HHIH6x", 0, 16, 1, 0xFFFF)
ENDLESS_ACTION = struct.pack("!HHHBBI4x", 25, 0, 0x8000, 0, 4, 1)  # set-field in_port


def flow_stats(instructions: bytes, length: int | None = None) -> bytes:
    """One entry: 48 bytes before the match."""
    size = 48 + len(ANY_MATCH) + len(instructions)
    return entry("!H", size if length is None else length, size=48, body=ANY_MATCH + instructions)


def bucket(actions: bytes, length: int | None = None) -> bytes:
    size = 16 + len(actions)
    return entry("!HH", size if length is None else length, 0, size=16, body=actions)


def group_desc(buckets: bytes) -> bytes:
    return struct.pack("!HBxI", 8 + len(buckets), 0, 1) + buckets


def table_features(properties: bytes) -> bytes:
    return entry("!HB5x32s", 64 + len(properties), 0, b"t", size=64, body=properties)  # type: ignore[arg-type]


def controller2(property_length: int) -> bytes:
    """Open vSwitch's action controller2 with one userdata property."""
    packed = struct.pack("!HHIH6xHH4x", 0xFFFF, 24, 0x2320, 37, 3, property_length)
    return struct.pack("!HH4x", 4, 8 + len(packed)) + packed


QUEUE = struct.pack("!II4x4x", 1, 0)  # port, padding, then queues
ENDLESS = {
    "group description, 56 bytes": multipart(7, group_desc(bucket(ENDLESS_ACTION))),
    "bucket": multipart(7, group_desc(bucket(b"", 0) + bytes(8))),
    "group description entry": multipart(7, struct.pack("!HBxI", 0, 0, 1)),
    "instruction": multipart(1, flow_stats(struct.pack("!HH4x", 4, 0))),
    "action": multipart(1, flow_stats(struct.pack("!HH4x", 4, 24) + ENDLESS_ACTION)),
    "flow entry": multipart(1, flow_stats(b"", 0)),
    "table features": multipart(12, entry("!HB", 0, 0, size=64)),
    "table feature property": multipart(12, table_features(struct.pack("!HH4x", 0, 0))),
    "instruction id": multipart(12, table_features(struct.pack("!HHHH", 0, 8, 1, 0))),
    "action id": multipart(12, table_features(struct.pack("!HHHH", 4, 8, 0, 0))),
    "meter configuration": multipart(10, struct.pack("!HHI", 0, 0, 1)),
    "queue": message(23, QUEUE[:8] + struct.pack("!IIH6x", 1, 1, 0)),
    "queue property": message(23, QUEUE[:8] + struct.pack("!IIH6x", 1, 1, 32) + struct.pack("!HH4xH6x", 1, 0, 5)),
    "hello element": message(0, struct.pack("!HH", 1, 0)),
    "controller2 property": multipart(1, flow_stats(controller2(0))),
    "flow mod of a switch": openflow.add_rule(RULE)[:-8] + struct.pack("!HH4x", 4, 0),
}
PORT = entry("!I4x6s2x16s", 1, b"\2\0\0\0\0\1", b"s1-eth1", size=64)  # type: ignore[arg-type]
LEGITIMATE = {
    "hello": message(0, struct.pack("!HHI", 1, 8, 1 << 4)),
    "error": message(1, struct.pack("!HH", 5, 1) + bytes(64)),
    "features": message(6, struct.pack("!QIBB2xII", 7, 256, 254, 0, 0x4F, 0)),
    "packet in": message(10, struct.pack("!IHBBQ", 0xFFFFFFFF, 60, 1, 1, 9) + ANY_MATCH + bytes(2) + bytes(60)),
    "port status": message(12, struct.pack("!B7x", 0) + PORT),
    "barrier": message(21, b""),
    "flow stats": multipart(1, flow_stats(ACTIONS) + flow_stats(struct.pack("!HHB3x", 1, 8, 1)) + flow_stats(b"")),
    "controller2": multipart(1, flow_stats(controller2(8))),
    "table stats": multipart(3, entry("!B", 1, size=24) * 3),
    "port stats": multipart(4, entry("!I", 1, size=112) * 3),
    "group stats": multipart(6, entry("!H", 56, size=40, body=bytes(16)) * 2),
    "group description": multipart(7, group_desc(bucket(OUTPUT) + bucket(b"")) * 2),
    "group features": multipart(8, bytes(40)),
    "meter configuration": multipart(10, struct.pack("!HHI", 24, 0, 1) + struct.pack("!HHII4x", 1, 16, 5, 5)),
    "table features": multipart(
        12, table_features(struct.pack("!HHHH", 0, 8, 1, 4) + struct.pack("!HHI", 8, 8, 1 << 31))
    ),
    "port description": multipart(13, PORT * 3),
    "queues": message(23, QUEUE[:8] + struct.pack("!IIH6x", 1, 1, 32) + struct.pack("!HH4xH6x", 1, 16, 5)),
}


@contextmanager
def not_held(seconds: float = HELD_S) -> Iterator[None]:
    """Fails where the block takes more CPU. The alarm's exception alone would not do: Ryu swallows all exceptions."""
    rung = []

    def ring(_signal: int, _frame: FrameType | None) -> None:
        rung.append(True)
        raise TimeoutError

    old = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, old)
        assert not rung, f"held for {seconds} s"


def test_there_is_a_freezer_of_56_bytes() -> None:
    assert len(ENDLESS["group description, 56 bytes"]) == 56


@pytest.mark.parametrize("freezer", ENDLESS.values(), ids=ENDLESS.keys())
def test_an_endless_message_is_refused_and_counted(freezer: bytes) -> None:
    before = sum(malformed_messages().values())
    with not_held(), pytest.raises(MalformedMessage):
        parse_message(freezer)
    assert sum(malformed_messages().values()) == before + 1


PLAIN_RYU = """
import os, resource, sys, eventlet.wsgi
eventlet.wsgi.ALREADY_HANDLED = []
from ryu.ofproto import ofproto_parser, ofproto_v1_3_parser
from ryu.ofproto.ofproto_protocol import ProtocolDesc
for line in sys.stdin:
    data = bytes.fromhex(line)
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_CPU, (1, 1))
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        print(ofproto_parser.msg(ProtocolDesc(4), *ofproto_parser.header(data), data), flush=True)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print("held", flush=True)
"""


def plain_ryu(messages: list[bytes]) -> list[str]:
    """What Ryu without the guard makes of each message in a process of its own that may use 1 s of CPU."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PLAIN_RYU],
        input="\n".join(m.hex() for m in messages),
        capture_output=True,
        text=True,
        timeout=200,
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )
    return done.stdout.splitlines()


def test_what_switches_send_is_parsed_as_without_the_guard() -> None:
    guarded = [str(parse_message(data)) for data in LEGITIMATE.values()]
    assert guarded == plain_ryu(list(LEGITIMATE.values()))


@pytest.mark.slow
def test_without_the_guard_each_of_them_holds_ryu() -> None:
    """Shows that the guard is needed: the process ends by its limit of CPU time or of memory, without an answer."""
    answers = dict(zip(ENDLESS, plain_ryu([*ENDLESS.values(), LEGITIMATE["barrier"]]), strict=False))
    assert answers == dict.fromkeys(ENDLESS, "held")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    start=st.sampled_from(list(LEGITIMATE.values())),
    changes=st.lists(st.tuples(st.integers(8, 300), st.sampled_from([0, 1, 4, 8, 16, 0xFFFF])), max_size=6),
)
def test_no_change_of_a_message_holds_the_parser(start: bytes, changes: list[tuple[int, int]]) -> None:
    data = bytearray(start)
    for offset, value in changes:
        if offset + 2 <= len(data):
            struct.pack_into("!H", data, offset, value)
    with not_held(), suppress(MalformedMessage, OFPTruncatedMessage):
        parse_message(bytes(data))


@settings(max_examples=300, deadline=None)
@given(kind=st.integers(0, 29), version=st.integers(0, 6), body=st.binary(max_size=200))
def test_no_noise_holds_the_parser(kind: int, version: int, body: bytes) -> None:
    with not_held(), suppress(MalformedMessage, OFPTruncatedMessage):
        parse_message(struct.pack("!BBHI", version, kind, 8 + len(body), 1) + body)


@pytest.mark.parametrize("version", [1, 3, 5, 6])
def test_other_versions_say_hello_and_no_more(version: int) -> None:
    hello = bytes([version]) + LEGITIMATE["hello"][1:]
    assert parse_message(hello) is not None
    with pytest.raises(MalformedMessage, match="version"):
        parse_message(bytes([version]) + LEGITIMATE["flow stats"][1:])


def test_a_message_shorter_than_its_header_is_refused() -> None:
    with pytest.raises(MalformedMessage, match="header"):
        parse_message(struct.pack("!BBHI", 4, 21, 0, 1))


def test_a_message_of_no_known_kind_is_refused() -> None:
    with pytest.raises(MalformedMessage, match="type 99"):
        parse_message(message(99, b""))


def test_entries_cannot_make_each_other_be_read_again_and_again() -> None:
    """A thousand entries of the least length whose match claims the whole message: 10 million fields in plain Ryu."""
    lying = entry("!H", 56, size=48, body=struct.pack("!HH4x", 1, 60000))
    with not_held(), pytest.raises(MalformedMessage):
        parse_message(multipart(1, lying * 1100))
