"""End-to-end delay and loss of every chain, measured in band.

A probe is a packet of the chain's own flow (its addresses, protocol and destination port), marked with DSCP 62. It is
put in at the chain's first switch with the steering tag on, passes every VNF like any packet, and a rule at the last
switch hands it to the controller instead of to the endpoint. A NAT or a balancer may have rewritten its header
on the way, so it is known again by its payload alone: a signed stamp of the chain's number, its own number and its
send time.

    delay = t_in - t_out - half the control loop of the first switch - half that of the last one

The halves are those of `controller.link_delay`. Reported are the *median* delay of the last returned probes (a VNF's
queue is part of the delay, so the minimum would be wrong here) and the share lost. Source: ours (docs/telemetry.md,
"Chain probes").
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from controller import frames
from controller.link_delay import HalfLoop
from controller.pacing import RoundRobin
from controller.rules import PROBE_DSCP
from controller.stamps import STAMP_BYTES, Signer, Stamp, StampKind
from twin.samples import Quantity, Sample
from twin.scenario import Scenario, ServiceChain

PROBE_PORT_BASE = 40000  # UDP or TCP source port of a chain's probes: this plus the chain's number
MIN_PROBE_BYTES = 64
HELD_INTERVAL_S = 0.02  # between probes of a chain that is moving: they tell how long it is silent


@dataclass(frozen=True, slots=True)
class ChainProbe:
    """A packet to put into a chain at `switch`; `encode` stamps it, so call it just before sending."""

    chain: ServiceChain
    switch: str
    seq: int
    src_mac: str
    dst_mac: str
    frame_bytes: int
    signer: Signer

    def encode(self, now_s: float) -> bytes:
        """The untagged Ethernet frame; the steering tag is pushed by the packet-out's actions."""
        flow, src_port = self.chain.flow, PROBE_PORT_BASE + self.chain.number
        stamp = self.signer.write(Stamp(StampKind.CHAIN, self.chain.number, 0, self.seq, now_s))
        header = 14 + 20 + (20 if flow.proto == "tcp" else 8)
        payload = stamp.ljust(self.frame_bytes - header, b"\0")
        if flow.proto != "tcp":
            proto = frames.PROTO_UDP
            segment = frames.encode_udp(frames.Udp(src_port, flow.dst_port, payload), src=flow.src_ip, dst=flow.dst_ip)
        else:
            proto = frames.PROTO_TCP
            segment = frames.encode_tcp(
                frames.Tcp(src_port, flow.dst_port, payload, self.seq), src=flow.src_ip, dst=flow.dst_ip
            )
        packet = frames.Ipv4(flow.src_ip, flow.dst_ip, proto, segment, PROBE_DSCP, ident=self.seq & 0xFFFF)
        ethernet = frames.Ethernet(self.dst_mac, self.src_mac, frames.ETHERTYPE_IPV4, frames.encode_ipv4(packet))
        return frames.encode_ethernet(ethernet)


@dataclass(frozen=True, slots=True)
class ProbeCounts:
    """Totals of a chain since the start, probes around moves included. `late` ones were counted as lost before."""

    sent: int = 0
    returned: int = 0
    lost: int = 0
    late: int = 0
    duplicated: int = 0


@dataclass(frozen=True, slots=True)
class ProbeReturn:
    """A probe that came back. `delay_ms` is NaN where a control loop was not measured; `held`: kept out of samples."""

    chain: str
    seq: int
    delay_ms: float
    held: bool


@dataclass(slots=True)
class _Sent:
    switch: str
    sent_s: float
    held: bool
    extra: bool  # only to tell a move's silence: not counted


@dataclass(slots=True)
class _Chain:
    """What is kept of one chain. Times are those of the newest entries of `delays_ms` and `lost`."""

    chain: ServiceChain
    delays_ms: deque[float]
    lost: deque[bool]
    delay_s: float = float("-inf")
    loss_s: float = float("-inf")
    seq: int = 0
    held: bool = False
    held_until_s: float = float("-inf")
    last_back_s: float | None = None  # since the move began
    longest_gap_s: float = 0.0
    on_their_way: dict[int, _Sent] = field(default_factory=dict)
    gone: deque[int] = field(default_factory=lambda: deque(maxlen=256))
    spare: deque[int] = field(default_factory=lambda: deque(maxlen=256))
    back: deque[int] = field(default_factory=lambda: deque(maxlen=256))
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ProbeCounts.__slots__, 0))


class ChainProbes:
    """Sends and takes back the probes of all chains.

    `rate_hz` is per chain, `median_of` the number of returned probes behind a delay, `loss_of` that of settled probes
    behind a loss. A probe not back after `timeout_s` is lost, also when it comes later. After a move is over, probes
    sent within `settle_s` are still kept out. `padded` gives probes the size of the chain's packets.
    """

    def __init__(
        self, scenario: Scenario, signer: Signer, *,
        rate_hz: float = 5.0, timeout_s: float = 1.0, median_of: int = 15, loss_of: int = 50,
        settle_s: float = 1.0, padded: bool = False,
    ) -> None:  # fmt: skip
        self.scenario = scenario
        self.unknown = 0  # frames given to `probe_in` that hold no probe of ours
        self._signer = signer
        self._timeout_s, self._settle_s, self._padded = timeout_s, settle_s, padded
        self._pacing: RoundRobin[str] = RoundRobin(1.0 / rate_hz)
        self._chains = {c.id: _Chain(c, deque(maxlen=median_of), deque(maxlen=loss_of)) for c in scenario.chains}
        self._by_number = {chain.number: chain.id for chain in scenario.chains}
        self._held_pacing: RoundRobin[str] = RoundRobin(HELD_INTERVAL_S)
        self._given: set[Sample] = set()

    def due(self, now_s: float, first_switch: Mapping[str, str]) -> list[ChainProbe]:
        """The probes whose turn it is. `first_switch`: steered chain -> the switch where it enters."""
        self._expire(now_s)
        steered = [chain for chain in self._chains if chain in first_switch]
        moving = [chain for chain in steered if self._chains[chain].held]
        turns, extra = self._pacing.due(now_s, steered), self._held_pacing.due(now_s, moving)
        chosen = {**dict.fromkeys(extra, True), **dict.fromkeys(turns, False)}
        return [self._probe(now_s, self._chains[c], first_switch[c], extra=spare) for c, spare in chosen.items()]

    def probe_in(self, now_s: float, switch: str, content: bytes, half_loop_s: HalfLoop) -> ProbeReturn | None:
        """A frame that came to the controller at a chain's last switch, at `now_s`.

        None for what is no probe of ours, comes too late or came before (each is counted).
        """
        stamp = self._stamp(content)
        if stamp is None or stamp.subject not in self._by_number:
            self.unknown += 1
            return None
        state = self._chains[self._by_number[stamp.subject]]
        self._expire(now_s)
        sent = state.on_their_way.pop(stamp.seq, None)
        if sent is None:
            self._count_stray(state, stamp.seq)
            return None
        return self._returned(now_s, state, stamp, sent, (half_loop_s(sent.switch), half_loop_s(switch)))

    def hold(self, chain: str) -> None:
        """A move of the chain begins: its probes, also those on their way, are kept out of the samples."""
        state = self._chains[chain]
        state.held, state.last_back_s, state.longest_gap_s = True, None, 0.0
        for sent in state.on_their_way.values():
            sent.held = True

    def release(self, now_s: float, chain: str) -> None:
        """The move is over: probes sent more than `settle_s` from now count again, and old ones are forgotten."""
        state = self._chains[chain]
        state.held, state.held_until_s = False, now_s + self._settle_s
        state.delays_ms.clear()

    def silence_ms(self, chain: str) -> float | None:
        """Of the last move, or the one under way: the longest time in which no probe came back, less the time between
        two of them. None where fewer than two came back."""
        state = self._chains[chain]
        if state.last_back_s is None or not state.longest_gap_s:
            return None
        return 1000.0 * max(0.0, state.longest_gap_s - HELD_INTERVAL_S)

    def counts(self, chain: str) -> ProbeCounts:
        """Totals of a chain; the difference of two is what a move cost. KeyError for an unknown one."""
        return ProbeCounts(**self._chains[chain].counts)

    def samples(self, now_s: float) -> list[Sample]:
        """`CHAIN_DELAY` and `CHAIN_LOSS` of the chains with something new since they were last given."""
        self._expire(now_s)
        readings = [sample for state in self._chains.values() for sample in _readings(state)]
        news = [sample for sample in readings if sample not in self._given]
        self._given = set(readings)
        return news

    def _probe(self, now_s: float, state: _Chain, switch: str, *, extra: bool) -> ChainProbe:
        chain = state.chain
        state.seq = state.seq % 0xFFFFFFFF + 1
        state.counts["sent"] += not extra
        state.on_their_way[state.seq] = _Sent(switch, now_s, state.held or now_s < state.held_until_s, extra)
        frame_bytes = max(MIN_PROBE_BYTES, chain.packet_bytes if self._padded else 0)
        src, dst = self.scenario.endpoint(chain.ingress).mac, self.scenario.endpoint(chain.egress).mac
        return ChainProbe(chain, switch, state.seq, src, dst, frame_bytes, self._signer)

    def _returned(
        self, now_s: float, state: _Chain, stamp: Stamp, sent: _Sent, halves_s: tuple[float | None, float | None]
    ) -> ProbeReturn:
        state.counts["returned"] += not sent.extra
        if state.held:
            if state.last_back_s is not None:
                state.longest_gap_s = max(state.longest_gap_s, now_s - state.last_back_s)
            state.last_back_s = now_s
        state.back.append(stamp.seq)
        half_out_s, half_in_s = halves_s
        delay_ms = float("nan")
        if half_out_s is not None and half_in_s is not None:
            delay_ms = max(0.0, (now_s - stamp.sent_s - half_out_s - half_in_s) * 1e3)
        if not sent.held:
            state.lost.append(False)
            state.loss_s = now_s
            if delay_ms == delay_ms:
                state.delays_ms.append(delay_ms)
                state.delay_s = now_s
        return ProbeReturn(state.chain.id, stamp.seq, delay_ms, sent.held)

    def _expire(self, now_s: float) -> None:
        """Probes that did not come back in time are lost."""
        for state in self._chains.values():
            late = [seq for seq, sent in state.on_their_way.items() if now_s - sent.sent_s > self._timeout_s]
            for seq in late:
                sent = state.on_their_way.pop(seq)
                (state.spare if sent.extra else state.gone).append(seq)
                state.counts["lost"] += not sent.extra
                if not sent.held:
                    state.lost.append(True)
                    state.loss_s = now_s

    def _count_stray(self, state: _Chain, seq: int) -> None:
        if seq in state.spare:
            return
        if seq in state.gone:
            state.gone.remove(seq)
            state.back.append(seq)
            state.counts["late"] += 1
        elif seq in state.back:
            state.counts["duplicated"] += 1
        else:
            self.unknown += 1

    def _stamp(self, content: bytes) -> Stamp | None:
        ethernet = frames.decode_ethernet(content)
        if ethernet is None or ethernet.ethertype != frames.ETHERTYPE_IPV4:
            return None
        packet = frames.decode_ipv4(ethernet.payload)
        segment = (frames.decode_udp(packet) or frames.decode_tcp(packet)) if packet else None
        return self._signer.read(segment.payload[:STAMP_BYTES], StampKind.CHAIN) if segment else None


def _readings(state: _Chain) -> list[Sample]:
    readings = list[Sample]()
    if state.delays_ms:
        delay_ms = statistics.median(state.delays_ms)
        readings.append(Sample(state.delay_s, state.chain.id, Quantity.CHAIN_DELAY, delay_ms))
    if state.lost:
        share = sum(state.lost) / len(state.lost)
        readings.append(Sample(state.loss_s, state.chain.id, Quantity.CHAIN_LOSS, share))
    return readings
