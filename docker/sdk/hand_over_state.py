"""The state of a VNF in Python, which knows what a peer lacks of it and what digest the peer must have."""

from __future__ import annotations

import hashlib
import struct
from collections import OrderedDict


class State:
    """Keys and values (bytes) in the order of their last use, which knows what a peer still lacks."""

    def __init__(self, capacity: int = 1 << 20) -> None:
        self.capacity = capacity
        self.entries: OrderedDict[bytes, bytes] = OrderedDict()
        self.dirty: dict[bytes, None] = {}
        self.removed: dict[bytes, None] = {}
        self.marks: dict[bytes, tuple[int, int]] = {}
        self.key = b""

    def get(self, key: bytes, default: bytes = b"") -> bytes:
        return self.entries.get(key, default)

    def put(self, key: bytes, value: bytes) -> None:
        """Stores it as the last used."""
        self.entries[key] = value
        self.entries.move_to_end(key)
        self.dirty.pop(key, None)
        self.dirty[key] = None

    def remove(self, key: bytes) -> None:
        del self.entries[key]
        self.dirty.pop(key, None)
        if self.marks.pop(key, None) is not None:
            self.removed[key] = None

    def begin(self, key: bytes) -> None:
        """A peer holds nothing yet; the digests have this key."""
        self.key, self.marks, self.removed = key, {}, {}
        self.dirty = dict.fromkeys(self.entries)

    def mark(self, key: bytes) -> bytes:
        """The peer has this entry as it is now: what is sent of it."""
        value = self.entries[key]
        record = bytes([len(key)]) + key + struct.pack("!H", len(value)) + value
        first, second = struct.unpack("!QQ", hashlib.blake2b(record, digest_size=16, key=self.key).digest())
        self.marks[key] = first, second
        self.dirty.pop(key, None)
        return record

    def digest(self) -> bytes:
        return struct.pack("!QQ", *(sum(mark[half] for mark in self.marks.values()) % (1 << 64) for half in (0, 1)))
