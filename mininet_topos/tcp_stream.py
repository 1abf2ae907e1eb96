"""The bytes of a test connection: which they are at every place, and what is wrong with those that came. Pure.

Both sides send words of 8 bytes: the connection's number and the word's own, counted from 0. TCP itself keeps a stream
in order; what this finds is a stream that was joined to another, lost a piece or began anew on the way. Source: ours.
"""

from __future__ import annotations

import struct

_WORD = struct.Struct("!II")
WORD_BYTES = _WORD.size


def words(connection: int, first: int, count: int) -> bytes:
    """`count` words of a connection's stream from number `first` on."""
    return b"".join(_WORD.pack(connection, number & 0xFFFFFFFF) for number in range(first, first + count))


class Checker:
    """Takes a stream as it comes, in pieces of any size."""

    def __init__(self, connection: int | None = None) -> None:
        """`connection` None: it is that of the first word."""
        self.connection = connection
        self.wrong_words = 0
        self.received_bytes = 0
        self._next = 0
        self._rest = b""

    def take(self, piece: bytes) -> None:
        """Counts words that are not those expected; after one the stream is expected to go on from there."""
        self.received_bytes += len(piece)
        content = self._rest + piece
        count = len(content) // WORD_BYTES
        whole, self._rest = content[: count * WORD_BYTES], content[count * WORD_BYTES :]
        if whole and self.connection is None:
            self.connection = _WORD.unpack_from(whole)[0]
        if whole == words(self.connection or 0, self._next, count):
            self._next += count
            return
        for connection, number in _WORD.iter_unpack(whole):
            if (connection, number) != (self.connection, self._next & 0xFFFFFFFF):
                self.wrong_words += 1
            self._next = number + 1
