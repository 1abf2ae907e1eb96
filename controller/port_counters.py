"""Link load, drops and offered traffic from the switches' port and flow statistics.

Which counter: the load of a link from a to b is what a *sent* (a's tx). It shows what wants to cross, also what a full
link then drops, as the model's utilisation asks; b's rx, which can never show more than the link carries, stands in
while a does not answer. Source: ours (docs/telemetry.md, "Counters").
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from controller.openflow_replies import FlowCounters, PortCounters
from controller.rates import UNSUPPORTED, RateWindow, Reading
from controller.steering import Adjacency
from controller.tags import Role, parse_cookie
from twin.samples import Quantity, Sample
from twin.scenario import Link, Scenario

BITS_PER_MBIT = 1e6
CEILING_MBPS = 400_000.0  # no port is faster (400GBASE, IEEE 802.3bs); more is a broken counter
_MIN_FRAME_BITS = 512.0
_UNKNOWN_AGE_S = 2**32 - 1  # what a switch reports as the duration of a port when it does not know it


@dataclass(frozen=True, slots=True)
class PortRates:
    """Mean rates of one port over the window; drops count both directions."""

    taken_s: float
    rx_mbps: float
    tx_mbps: float
    rx_packets_per_s: float
    tx_packets_per_s: float
    dropped_per_s: float


class LinkLoads:
    """Turns port statistics into `LINK_LOAD_FORWARD` and `LINK_LOAD_BACKWARD`.

    Rates are means over `window_s` (default: the scenario's control period, the slot that the model reasons about). A
    port whose last reading is older than `stale_s` (default: twice the window) counts as not answering.
    """

    def __init__(self, scenario: Scenario, *, window_s: float = 0.0, stale_s: float = 0.0) -> None:
        self.scenario = scenario
        self._window_s = window_s or scenario.period_s
        self._stale_s = stale_s or 2 * self._window_s
        self._ports: dict[tuple[str, int], RateWindow] = {}

    def add(self, now_s: float, switch: str, stats: Iterable[PortCounters], adjacency: Adjacency) -> list[Sample]:
        """Takes a whole reply in and returns the loads that it tells. `adjacency` is that of `Discovery`."""
        counters = list(stats)
        for key in self._ports.keys() - {(switch, stat.port) for stat in counters}:
            if key[0] == switch:
                del self._ports[key]  # a port that was deleted
        fresh = {stat.port for stat in counters if self._take(now_s, switch, stat, adjacency)}
        return [sample for link in self.scenario.links for sample in self._loads(switch, link, adjacency, fresh)]

    def forget(self, switch: str) -> None:
        """A switch left: what its ports counted before is no base for what they will count."""
        for key in [key for key in self._ports if key[0] == switch]:
            del self._ports[key]

    def port(self, now_s: float, switch: str, port: int) -> PortRates | None:
        """Rates of one port for metrics; None without a reading younger than `stale_s`."""
        window = self._ports.get((switch, port))
        if window is None or now_s - window.taken_s > self._stale_s:
            return None
        rx, tx, rx_packets, tx_packets, rx_dropped, tx_dropped = window.rates()
        mbps = 8.0 / BITS_PER_MBIT
        return PortRates(window.taken_s, rx * mbps, tx * mbps, rx_packets, tx_packets, rx_dropped + tx_dropped)

    def drops_per_s(self, now_s: float, adjacency: Adjacency) -> dict[str, float]:
        """Packets per second that the ports at both ends of each link dropped; links without a reading are left out."""
        drops: dict[str, float] = {}
        for link in self.scenario.links:
            ends = [(a, adjacency[a, b]) for a, b in _directions(link) if (a, b) in adjacency]
            known = [rates for end in ends if (rates := self.port(now_s, *end)) is not None]
            if known:
                drops[link.id] = sum(rates.dropped_per_s for rates in known)
        return drops

    def _take(self, now_s: float, switch: str, stat: PortCounters, adjacency: Adjacency) -> bool:
        counters = (stat.rx_bytes, stat.tx_bytes, stat.rx_packets, stat.tx_packets)
        if UNSUPPORTED in counters:
            return False
        drops = tuple(0 if d == UNSUPPORTED else d for d in (stat.rx_dropped, stat.tx_dropped))
        window = self._ports.get((switch, stat.port))
        if window is None:
            window = self._ports[switch, stat.port] = RateWindow(self._window_s, ceiling=_ceiling(CEILING_MBPS))
        wrap = _ceiling(2.0 * self._bandwidth_mbps(switch, stat.port, adjacency))
        return window.add(Reading(now_s, _age_s(stat.duration_s), counters + drops), wrap_ceiling=wrap)

    def _bandwidth_mbps(self, switch: str, port: int, adjacency: Adjacency) -> float:
        for link in self.scenario.links:
            for a, b in _directions(link):
                if a == switch and adjacency.get((a, b)) == port:
                    return link.bandwidth_mbps
        return self.scenario.access.bandwidth_mbps

    def _loads(self, switch: str, link: Link, adjacency: Adjacency, fresh: set[int]) -> Iterator[Sample]:
        """What a reply of `switch` says of a link: what it sent, and what it received where the sender is silent."""
        if switch not in (link.a, link.b):
            return
        peer = link.b if switch == link.a else link.a
        port = adjacency.get((switch, peer))
        if port is None or port not in fresh:
            return
        window = self._ports[switch, port]
        own = self.port(window.taken_s, switch, port)
        assert own is not None  # a fresh port has a rate
        sent, received = Quantity.LINK_LOAD_FORWARD, Quantity.LINK_LOAD_BACKWARD
        if switch == link.b:
            sent, received = received, sent
        yield Sample(own.taken_s, link.id, sent, own.tx_mbps)
        if self.port(own.taken_s, peer, adjacency.get((peer, switch), 0)) is None:
            yield Sample(own.taken_s, link.id, received, own.rx_mbps)


class OfferedTraffic:
    """Turns flow statistics of the chains' ingress rules into `CHAIN_OFFERED`.

    Counted are the bytes of Ethernet frames as they enter the first switch: header included; check sequence and
    preamble not; steering tag not yet pushed. `packet_bytes` of a scenario is the same size, so that
    `CHAIN_OFFERED` = packets per second · packet_bytes · 8. Probes never meet the ingress rule and are not counted.
    """

    def __init__(self, scenario: Scenario, *, window_s: float = 0.0) -> None:
        self.scenario = scenario
        self._window_s = window_s or scenario.period_s
        self._by_number = {chain.number: chain.id for chain in scenario.chains}
        self._rules: dict[tuple[str, str], RateWindow] = {}  # of (switch, chain)

    def add(self, now_s: float, switch: str, stats: Iterable[FlowCounters]) -> list[Sample]:
        """Takes a whole reply in (all parts of it). Rules that are no ingress rule of ours are left out.

        A rule that is no longer in its switch's reply is forgotten, so a chain whose user has roamed is read at its
        new switch alone.
        """
        totals = self._by_chain(stats)
        for key in [key for key in self._rules if key[0] == switch and key[1] not in totals]:
            del self._rules[key]
        fresh = {chain for chain, reading in totals.items() if self._take(switch, chain, now_s, *reading)}
        return [
            Sample(now_s, chain.id, Quantity.CHAIN_OFFERED, self._mbps(now_s, chain.id))
            for chain in self.scenario.chains
            if chain.id in fresh
        ]

    def forget(self, switch: str) -> None:
        """A switch left."""
        for key in [key for key in self._rules if key[0] == switch]:
            del self._rules[key]

    def _by_chain(self, stats: Iterable[FlowCounters]) -> dict[str, tuple[int, float]]:
        """(bytes, age) per chain; of several rules the sum, and the age of the youngest, whose coming shows so."""
        totals: dict[str, tuple[int, float]] = {}
        for stat in stats:
            cookie = parse_cookie(stat.rule.cookie)
            if cookie is None or cookie.role != Role.INGRESS or stat.bytes == UNSUPPORTED:
                continue
            chain = self._by_number.get(cookie.chain, "")
            had_bytes, had_s = totals.get(chain, (0, math.inf))
            totals[chain] = (had_bytes + stat.bytes, min(had_s, stat.duration_s))
        totals.pop("", None)
        return totals

    def _take(self, switch: str, chain: str, now_s: float, total_bytes: int, alive_s: float) -> bool:
        ceiling = (CEILING_MBPS * BITS_PER_MBIT / 8.0,)
        window = self._rules.setdefault((switch, chain), RateWindow(self._window_s, ceiling=ceiling))
        wrap = (2.0 * self.scenario.access.bandwidth_mbps * BITS_PER_MBIT / 8.0,)
        return window.add(Reading(now_s, _age_s(alive_s), (total_bytes,)), wrap_ceiling=wrap)

    def _mbps(self, now_s: float, chain: str) -> float:
        """Bytes of all ingress rules of a chain in the window over the longest time that one of them covers.

        There are two rules while its user roams: the new one covers less time, and the old one no longer counts.
        """
        windows = [window for (_, owner), window in self._rules.items() if owner == chain]
        current = [window for window in windows if now_s - window.taken_s <= 2 * self._window_s]
        total_bytes = sum(window.growth()[0] for window in current)
        return total_bytes * 8.0 / BITS_PER_MBIT / max(window.length_s for window in current)


def _directions(link: Link) -> tuple[tuple[str, str], tuple[str, str]]:
    return (link.a, link.b), (link.b, link.a)


def _age_s(duration_s: float) -> float:
    """A duration field, NaN where the switch did not know it."""
    return duration_s if duration_s < _UNKNOWN_AGE_S else math.nan


def _ceiling(mbps: float) -> tuple[float, ...]:
    """Per second, in the order of the counters: bytes, packets and drops of a port at that rate."""
    bytes_per_s, packets_per_s = mbps * BITS_PER_MBIT / 8.0, mbps * BITS_PER_MBIT / _MIN_FRAME_BITS
    return (bytes_per_s, bytes_per_s, packets_per_s, packets_per_s, packets_per_s, packets_per_s)
