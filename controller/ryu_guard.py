"""The guard before Ryu's OpenFlow parsers, which step on by the length that an element claims.

A claimed length of zero (or, in one place, below zero) holds the whole process for ever: one message of 56 bytes from
anybody who can connect. Here every such step is checked. What does not move on is `MalformedMessage`, on which Ryu
closes the connection; it is counted. Only `controller.ryu_compat` uses this.
"""

from __future__ import annotations

import struct
from collections import Counter
from inspect import getclosurevars
from typing import Any

from ryu.exception import OFPTruncatedMessage
from ryu.ofproto import ofproto_parser, ofproto_v1_3, ofproto_v1_3_parser

OFP_VERSION = ofproto_v1_3.OFP_VERSION
_HELLO = 0
malformed: Counter[str] = Counter()  # connections closed, by the peer's host; one process has one parser


class MalformedMessage(OFPTruncatedMessage):  # type: ignore[misc]
    """A message whose lengths cannot be. Ryu closes the connection on it."""

    def __init__(self, reason: str) -> None:
        super().__init__(None, b"", reason, msg=f"malformed OpenFlow message: {reason}")


_ryu_message = ofproto_parser.msg
# Where an entry of a multipart body says how long it is; entries of other types have a fixed size.
_ENTRY_LENGTH_AT = {
    ofproto_v1_3_parser.OFPFlowStats: 0,
    ofproto_v1_3_parser.OFPGroupStats: 0,
    ofproto_v1_3_parser.OFPGroupDescStats: 0,
    ofproto_v1_3_parser.OFPTableFeaturesStats: 0,
    ofproto_v1_3_parser.OFPMeterStats: 4,
    ofproto_v1_3_parser.OFPMeterConfigStats: 0,
}
_SHORTEST_ENTRY = 8


def guarded_message(datapath: Any, version: int, kind: int, length: int, xid: int, buf: bytes) -> Any:
    """Takes the place of `ryu.ofproto.ofproto_parser.msg`."""
    try:
        if length < ofproto_v1_3.OFP_HEADER_SIZE or struct.unpack_from("!H", buf, 2)[0] != length:
            raise MalformedMessage("shorter than its header")
        if kind == _HELLO:
            _check_hello(bytes(buf), length)
        elif version != OFP_VERSION:  # the parsers of other versions have the same holes
            raise MalformedMessage(f"version {version}")
        return _ryu_message(datapath, version, kind, length, xid, buf)
    except OFPTruncatedMessage:
        malformed[str(getattr(datapath, "address", ("?",))[0])] += 1
        raise


def _check_hello(buf: bytes, end: int) -> None:
    offset = ofproto_v1_3.OFP_HELLO_HEADER_SIZE
    while offset < end:
        length = struct.unpack_from("!H", buf, offset + 2)[0] if offset + 4 <= end else 0
        if length < 4:
            raise MalformedMessage("a hello element shorter than its header")
        offset += length


def _guard_element(owner: Any, shortest: int) -> None:
    """`parser(buf, offset)` gives an element by whose `len` the caller steps on."""
    original = owner.parser.__func__

    def parser(cls: Any, buf: bytes, offset: int) -> Any:
        element = original(cls, buf, offset)
        if (element.len or 0) < shortest:
            raise MalformedMessage(f"{cls.__name__} of {element.len} bytes")
        return element

    owner.parser = classmethod(parser)


def _guard_rest(owner: Any) -> None:
    """`parse(buf)` gives an element and what is left of the buffer."""
    original = owner.parse.__func__

    def parse(cls: Any, buf: bytes) -> Any:
        element, rest = original(cls, buf)
        if len(rest) >= len(buf):
            raise MalformedMessage(f"{cls.__name__} of no length")
        return element, rest

    owner.parse = classmethod(parse)


def _guard_size(owner: Any) -> None:
    """`parser_prop(buf, length)` gives a value and its size, which may not lead backwards."""
    original = owner.parser_prop.__func__

    def parser_prop(cls: Any, buf: bytes, length: int) -> Any:
        if length < 0:
            raise MalformedMessage(f"{cls.__name__} of {length} bytes")
        return original(cls, buf, length)

    owner.parser_prop = classmethod(parser_prop)


def _guarded_stats_body(cls: Any, buf: bytes, end: int, offset: int) -> Any:
    """Takes the place of `OFPMultipartReply.parser_stats_body`; no entry sees what lies behind its end."""
    kind, body = cls.cls_stats_body_cls, []
    length_at = _ENTRY_LENGTH_AT.get(kind)
    while offset < end:
        stop = end
        if length_at is not None and offset + length_at + 2 <= end:
            stop = offset + max(struct.unpack_from("!H", buf, offset + length_at)[0], _SHORTEST_ENTRY)
        entry = kind.parser(buf[:stop], offset)
        length = entry.len if kind is ofproto_v1_3_parser.OFPMeterStats else entry.length
        if length < _SHORTEST_ENTRY:
            raise MalformedMessage(f"{kind.__name__} of {length} bytes")
        body.append(entry)
        offset += length
    return body[0] if cls.cls_body_single_struct else body


def install() -> None:
    """Puts the checks into Ryu, for good; a second call does nothing."""
    if ofproto_parser.msg is guarded_message:
        return
    parser: Any = ofproto_v1_3_parser
    for owner, shortest in (
        (parser.OFPInstruction, 8),
        (parser.OFPAction, 8),
        (parser.OFPBucket, 16),
        (parser.OFPQueueProp, 8),
        (parser.OFPPacketQueue, 16),
        (parser.OFPMeterBandHeader, 12),
    ):
        _guard_element(owner, shortest)
    for owner in (parser.OFPPropBase, parser.OFPInstructionId, parser.OFPActionId, parser.OFPOxmId):
        _guard_rest(owner)
    made_inside = getclosurevars(parser.NXActionController2.parser).nonlocals  # the only way to get at them
    properties = made_inside["NXActionController2Prop"]._TYPES.values()
    for owner in {*properties, made_inside["NXActionController2PropUnknown"]}:
        _guard_size(owner)
    parser.OFPMultipartReply.parser_stats_body = classmethod(_guarded_stats_body)
    ofproto_parser.msg = guarded_message
