"""The signed time stamp that every measuring packet of ours carries, whatever it travels in.

One controller run has one secret key. A stamp says what was sent, from where, as which number and when, and is
signed with that key: packets of an earlier run, of another controller, or made up by a host do not verify. The clock
is the sender's own monotonic clock, so a stamp means nothing to anybody else.
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2s

_MAGIC = b"VNF1"
_BODY = struct.Struct("!4sBQIIQ")
_TAG_BYTES = 8
STAMP_BYTES = _BODY.size + _TAG_BYTES


class StampKind(IntEnum):
    """What a stamp travels in. `subject` is the sending switch's dpid, for a chain probe the chain's number."""

    LINK = 1
    LOOP = 2
    CHAIN = 3
    ECHO = 4


@dataclass(frozen=True, slots=True)
class Stamp:
    kind: StampKind
    subject: int
    port: int
    seq: int
    sent_s: float


class Signer:
    """Writes stamps and reads back its own. `key` is 16 to 32 random bytes, new in every run."""

    def __init__(self, key: bytes) -> None:
        if not 16 <= len(key) <= 32:
            raise ValueError(f"a stamp key has 16 to 32 bytes, not {len(key)}")
        self._key = key

    def write(self, stamp: Stamp) -> bytes:
        """`STAMP_BYTES` bytes; the time is kept to a nanosecond. ValueError for what does not fit its field."""
        sent_ns = round(stamp.sent_s * 1e9)
        try:
            body = _BODY.pack(_MAGIC, stamp.kind, stamp.subject, stamp.port, stamp.seq, sent_ns)
        except struct.error as error:
            raise ValueError(f"does not fit a stamp: {error}") from None
        return body + self._tag(body)

    def read(self, content: bytes, kind: StampKind) -> Stamp | None:
        """The stamp at the start of `content`, or None where there is none of this kind signed by this run."""
        if len(content) < STAMP_BYTES or content[:4] != _MAGIC or content[4] != kind:
            return None
        body, tag = content[: _BODY.size], content[_BODY.size : STAMP_BYTES]
        if not hmac.compare_digest(tag, self._tag(body)):
            return None
        _, _, subject, port, seq, sent_ns = _BODY.unpack(body)
        return Stamp(kind, subject, port, seq, sent_ns / 1e9)

    def _tag(self, body: bytes) -> bytes:
        return blake2s(body, key=self._key, digest_size=_TAG_BYTES).digest()
