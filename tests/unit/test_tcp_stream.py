"""What the checker of a test connection's stream finds, and what it takes for sound."""

from __future__ import annotations

import socket

from hypothesis import given
from hypothesis import strategies as st

from mininet_topos.tcp_connection import End, Rate
from mininet_topos.tcp_stream import WORD_BYTES, Checker, words


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 40), max_size=20))
def test_a_stream_in_any_pieces_is_sound(connection: int, cuts: list[int]) -> None:
    checker, stream = Checker(), words(connection, 0, 50)
    for cut in cuts:
        checker.take(stream[:cut])
        stream = stream[cut:]
    checker.take(stream)
    assert (checker.connection, checker.wrong_words, checker.received_bytes) == (connection, 0, 50 * WORD_BYTES)


def test_what_is_missing_twice_there_or_of_another_is_found() -> None:
    def wrong(*pieces: bytes) -> int:
        checker = Checker(1)
        for piece in pieces:
            checker.take(piece)
        return checker.wrong_words

    assert wrong(words(1, 0, 5), words(1, 6, 5)) == 1
    assert wrong(words(1, 0, 5), words(1, 4, 5)) == 1
    assert wrong(words(1, 0, 5), words(2, 5, 3)) == 3
    assert wrong(words(1, 0, 5), words(1, 0, 5)) == 1
    assert wrong(words(1, 0, 2)[:11] + words(1, 2, 1)) == 1


def _ends() -> tuple[End, End]:
    one, other = socket.socketpair()
    one.setblocking(False)
    other.setblocking(False)
    return End(one, Rate(10, 80), Checker(7), 0.0), End(other, Rate(10, 80), Checker(), 0.0)


def test_an_end_sends_at_its_rate_and_notes_silences() -> None:
    client, server = _ends()
    client.send_due(0.0)
    client.send_due(0.05)
    server.read(0.06)
    assert (client.sent_bytes, server.checker.received_bytes, server.connection) == (80, 80, 7)
    client.send_due(0.5)  # what was not sent in time is not made up for
    client.send_due(0.51)
    server.read(0.55)
    assert (client.sent_bytes, server.checker.wrong_words) == (160, 0)
    assert abs(server.longest_silence_s - 0.49) < 1e-9
    client.socket.close()
    server.read(0.6)
    assert server.state == "ended"
    server.socket.close()


def test_a_stream_waits_while_the_network_takes_nothing() -> None:
    client, server = _ends()
    waiting_at = next(tick for tick in range(100_000) if not _idle_after(client, tick * 0.1))
    assert waiting_at > 10
    while not _flushed(client) or server.checker.received_bytes < client.sent_bytes:
        server.read(1e6)
    assert server.checker.wrong_words == 0
    assert server.checker.received_bytes == client.sent_bytes
    client.socket.close()
    server.socket.close()


def _idle_after(end: End, now_s: float) -> bool:
    end.send_due(now_s)
    return end.idle


def _flushed(end: End) -> bool:
    end.flush()
    return end.idle
