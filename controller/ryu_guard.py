"""The guard before Ryu's OpenFlow parsers, which step on by the length that an element claims.

A claimed length of zero (or, in one place, below zero) holds the whole process for ever: one message of 56 bytes from
anybody who can connect. Here every such step is checked. What does not move on is `MalformedMessage`, on which Ryu
closes the connection; it is counted. The same goes for a message that Ryu cannot read at all. Only
`controller.ryu_compat` uses this.
"""

from __future__ import annotations

import logging
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
        if version != OFP_VERSION and (kind != _HELLO or version not in ofproto_parser._MSG_PARSERS):
            raise MalformedMessage(f"version {version}")  # the parsers of other versions have the same holes
        message = _ryu_message(datapath, version, kind, length, xid, buf)
        if message is None:
            raise MalformedMessage(f"type {kind}, {length} bytes")
        return message
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


def _guard_entry(owner: Any) -> None:
    """`parser(buf, offset)` gives an entry of a multipart body. It does not get to see what lies behind its end."""
    original, length_at = owner.parser.__func__, _ENTRY_LENGTH_AT.get(owner)

    def parser(cls: Any, buf: bytes, offset: int) -> Any:
        end = len(buf)
        if length_at is not None and offset + length_at + 2 <= end:
            length = struct.unpack_from("!H", buf, offset + length_at)[0]
            if length < _SHORTEST_ENTRY:
                raise MalformedMessage(f"{cls.__name__} of {length} bytes")
            end = offset + length
        return original(cls, buf[:end], offset)

    owner.parser = classmethod(parser)


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
    for reply in parser.OFPMultipartReply._STATS_MSG_TYPES.values():
        _guard_entry(reply.cls_stats_body_cls)
    ofproto_parser.msg = guarded_message
    ofproto_parser.LOG.setLevel(logging.CRITICAL)  # else a traceback with the whole message for each
