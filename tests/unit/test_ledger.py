"""The ledger counts every packet once and for what it was."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mininet_topos.cpu import CpuTimes
from mininet_topos.ledger import DelayMs, Ledger
from mininet_topos.pacing import BURST_PACKETS, LATE_NS, Pacer
from mininet_topos.payload import HEADERS_BYTES, announcement, pack, padding, unpack

MS = 1_000_000


def sent(count: int) -> Ledger:
    """A ledger with packets sent 1 ms apart."""
    ledger = Ledger()
    for number in range(count):
        ledger.note_sent(number * MS + 1)
    return ledger


def receive(ledger: Ledger, *numbers: int, delay_ms: float = 5.0) -> None:
    for number in numbers:
        ledger.note_received(number, number * MS + 1, number * MS + 1 + int(delay_ms * MS))


def test_a_clean_run() -> None:
    ledger = sent(10)
    receive(ledger, *range(10))
    account = ledger.account()
    assert (account.sent, account.received, account.lost, account.duplicated, account.reordered) == (10, 10, 0, 0, 0)
    assert account.delay_ms.mean == pytest.approx(5.0)
    assert ledger.complete


def test_lost_are_those_that_never_came() -> None:
    ledger = sent(10)
    receive(ledger, 0, 1, 2, 5, 6, 7, 8)
    assert ledger.missing().tolist() == [3, 4, 9]
    assert ledger.account().lost == 3
    assert not ledger.complete


def test_a_duplicate_is_neither_received_nor_reordered_nor_timed() -> None:
    ledger = sent(3)
    receive(ledger, 0, 1, 2)
    receive(ledger, 0, 0, delay_ms=90.0)
    account = ledger.account()
    assert (account.received, account.duplicated, account.reordered, account.delay_ms.max) == (3, 2, 0, 5.0)


def test_a_number_that_was_overtaken_is_reordered() -> None:
    ledger = sent(5)
    receive(ledger, 0, 3, 1, 2, 4)
    assert ledger.account().reordered == 2


@pytest.mark.parametrize("number", [-1, 3, 10**9])
def test_a_number_that_was_never_sent_is_foreign(number: int) -> None:
    ledger = sent(3)
    receive(ledger, number)
    assert (ledger.account().foreign, ledger.account().received) == (1, 0)


def test_more_than_a_byte_of_duplicates_is_counted() -> None:
    ledger = sent(1)
    receive(ledger, *[0] * 400)
    assert ledger.account().duplicated == 399


def test_silence_and_pause_are_the_longest() -> None:
    ledger = sent(10)
    receive(ledger, 0, 1, 7, 8)
    ledger.note_sent(100 * MS)
    account = ledger.account()
    assert account.silence_ms == pytest.approx(6.0)
    assert account.pause_ms == pytest.approx(91.0, abs=0.01)


def test_a_window_holds_what_came_since_the_last() -> None:
    ledger = sent(4)
    receive(ledger, 0, 1, delay_ms=2.0)
    assert (ledger.window().delay_ms.count, ledger.window().delay_ms.count) == (2, 0)
    receive(ledger, 2, delay_ms=8.0)
    assert ledger.window().delay_ms == DelayMs(1, 8.0, 8.0, 8.0, 8.0, 8.0)


@given(st.integers(0, 300), st.randoms(use_true_random=False))
def test_the_books_balance_whatever_the_network_does(count: int, chance: random.Random) -> None:
    ledger = sent(count)
    arrivals = [n for n in range(count) for _ in range(chance.choice([0, 1, 1, 1, 2, 3]))]
    chance.shuffle(arrivals)
    receive(ledger, *arrivals)
    account = ledger.account()
    assert account.received == len(set(arrivals))
    assert account.received + account.lost == account.sent == count
    assert account.received + account.duplicated == len(arrivals)
    firsts = list(dict.fromkeys(arrivals))
    assert account.reordered == sum(max(firsts[: i + 1]) > n for i, n in enumerate(firsts))


def test_payload_comes_back_and_strangers_do_not() -> None:
    packet = pack(7, 1 << 40, 123456789, padding(512))
    assert len(packet) == 512 - HEADERS_BYTES
    stamp = unpack(packet)
    assert stamp is not None
    assert (stamp.chain, stamp.number, stamp.sent_ns) == (7, 1 << 40, 123456789)
    assert unpack(b"x" * 60) is None
    assert unpack(packet[:10]) is None


def test_announcement_is_a_gratuitous_arp_request() -> None:
    frame = announcement("02:00:00:00:00:01", "10.0.0.1")
    assert len(frame) == 42
    assert frame[:14] == b"\xff" * 6 + b"\x02\0\0\0\0\1" + b"\x08\x06"
    assert frame[28:32] == frame[38:42] == bytes([10, 0, 0, 1])


def send_for(pacer: Pacer, seconds: float, step_ns: int = MS // 10) -> list[int]:
    """Times at which packets leave when the pacer is asked every `step_ns`."""
    return [t for t in range(0, int(seconds * 1e9), step_ns) for _ in range(pacer.due(t))]


@pytest.mark.parametrize(
    ("rate", "even", "burst"), [(100.0, False, 1), (400.0, False, BURST_PACKETS), (400.0, True, 1)]
)
def test_pacer_sends_its_rate_in_bursts_or_evenly(rate: float, even: bool, burst: int) -> None:
    pacer = Pacer(even=even)
    pacer.set_rate(rate, 0)
    times = send_for(pacer, 10.0)
    assert len(times) == pytest.approx(10 * rate, abs=burst)
    gaps = np.diff(times) / 1e9
    assert (gaps > 0).mean() == pytest.approx(1 / burst, abs=0.01)
    assert gaps.max() == pytest.approx(burst / rate, abs=0.0003)


def test_pacer_follows_its_rate_and_stops() -> None:
    pacer = Pacer(even=True)
    pacer.set_rate(0.1, 0)
    assert pacer.due(0) == 1
    pacer.set_rate(100.0, 1_000 * MS)
    assert pacer.due(1_000 * MS) == 1
    pacer.set_rate(0.0, 1_001 * MS)
    assert pacer.due(10_000 * MS) == 0


def test_pacer_does_not_make_up_for_a_long_stall() -> None:
    pacer = Pacer(even=True)
    pacer.set_rate(1000.0, 0)
    late = 10 * LATE_NS
    assert sum(pacer.due(late) for _ in range(1000)) <= 2


def test_cpu_idle_share() -> None:
    before = CpuTimes.parse("cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 1\n")
    after = CpuTimes.parse("cpu  150 0 110 730 110 0 0 0 90 0\n")
    assert after.idle_share_since(before) == pytest.approx(0.4)
    assert before.idle_share_since(before) == 1.0


def test_a_windows_silence_is_its_own() -> None:
    ledger = Ledger()
    for number, at_ms in enumerate((0, 40, 45)):
        ledger.note_sent(at_ms * 1_000_000)
        ledger.note_received(number, at_ms * 1_000_000, (at_ms + 1) * 1_000_000)
    window = ledger.window()
    assert (window.silence_ms, window.pause_ms) == (40.0, 40.0)
    ledger.note_sent(52_000_000)
    ledger.note_received(3, 52_000_000, 60_000_000)
    window = ledger.window()
    assert (window.silence_ms, window.pause_ms) == (14.0, 7.0)
    assert (ledger.account().silence_ms, ledger.account().pause_ms) == (40.0, 40.0)
