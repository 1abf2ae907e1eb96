"""One-way delay of every link, from time stamps in LLDP frames less the share of the control channels.

A frame's way is controller -> A -> link -> B -> controller, so

    link(A, B) = (t_in - t_out) - half the control loop of A - half the control loop of B.

1. The control loop of a switch is measured by a *loop probe*: a packet-out whose only action is "output to the
   controller". It comes back as a packet-in by the same path through the switch as an LLDP frame. An echo request does
   not: it never reaches the datapath, and it waits behind statistics replies. Echo is measured only where no loop
   probe returns.
2. All noise on these ways (scheduling, queues in the controller) only ever adds. So the *minimum* of a window estimates
   both the loops and the frames' ways; a median keeps half of the noise (0.2-0.3 ms more where both were tried). A
   rise of the true delay shows once the window has passed, a fall at once.
3. The reading of a link is the *mean of its two directions*: what one gains by halving an asymmetric loop, the
   other loses, so with both directions the halving cancels and only the whole loops count.

A negative result is zero. Source: ours (docs/telemetry.md, "Link delay").
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from controller import frames
from controller.lldp import LldpArrival
from controller.pacing import RoundRobin
from controller.stamps import Signer, Stamp, StampKind
from twin.samples import Quantity, Sample
from twin.scenario import Scenario

_PROBE_MAC = "02:76:6e:00:00:01"
_MIN_FRAME = 60  # bytes without the check sequence
HalfLoop = Callable[[str], float | None]  # switch -> seconds, None: not measured


@dataclass(frozen=True, slots=True)
class LoopProbe:
    """A packet-out to `switch` with the one action output:CONTROLLER; `encode` stamps it, so call it when sending."""

    switch: str
    dpid: int
    seq: int
    signer: Signer

    def encode(self, now_s: float) -> bytes:
        stamp = self.signer.write(Stamp(StampKind.LOOP, self.dpid, 0, self.seq, now_s)).ljust(_MIN_FRAME - 14, b"\0")
        ethernet = frames.Ethernet(_PROBE_MAC, _PROBE_MAC, frames.ETHERTYPE_EXPERIMENTAL, stamp)
        return frames.encode_ethernet(ethernet)


@dataclass(frozen=True, slots=True)
class EchoProbe:
    """An OpenFlow echo request to `switch`; `encode` gives its content."""

    switch: str
    dpid: int
    seq: int
    signer: Signer

    def encode(self, now_s: float) -> bytes:
        return self.signer.write(Stamp(StampKind.ECHO, self.dpid, 0, self.seq, now_s))


class WindowedMinimum:
    """The least value of the last `window_s`, in O(1): values that can never be the least again are forgotten."""

    def __init__(self, window_s: float) -> None:
        self.window_s = window_s
        self._rising: deque[tuple[float, float]] = deque()

    def add(self, now_s: float, value: float) -> None:
        while self._rising and self._rising[-1][1] >= value:
            self._rising.pop()
        self._rising.append((now_s, value))

    def value(self, now_s: float) -> float | None:
        """None where the window holds nothing."""
        while self._rising and self._rising[0][0] < now_s - self.window_s:
            self._rising.popleft()
        return self._rising[0][1] if self._rising else None

    @property
    def newest_s(self) -> float:
        """When the newest value came (-inf: the window holds nothing)."""
        return self._rising[-1][0] if self._rising else float("-inf")


class _Loop:
    """The control loop of one switch: its probes, and the echo that stands in for them."""

    def __init__(self, window_s: float) -> None:
        self.probe = WindowedMinimum(window_s)
        self.echo = WindowedMinimum(window_s)


class LinkDelays:
    """Measures the control loops and, with the LLDP arrivals of `Discovery`, the links.

    `loop_period_s` is the time between two loop probes of one switch. A probe that takes longer than `timeout_s` counts
    as lost. `window_s` should hold about twenty LLDP rounds: the minimum of fewer keeps more noise on a busy machine.
    """

    def __init__(
        self, scenario: Scenario, signer: Signer, *,
        loop_period_s: float = 0.25, window_s: float = 10.0, timeout_s: float = 1.0,
    ) -> None:  # fmt: skip
        self.scenario = scenario
        self._signer = signer
        self._window_s, self._timeout_s = window_s, timeout_s
        self._dpids = {switch.id: switch.dpid for switch in scenario.switches}
        self._loops: dict[str, _Loop] = {}
        self._ways: dict[tuple[str, str], WindowedMinimum] = {}
        self._pacing: RoundRobin[str] = RoundRobin(loop_period_s)
        self._seq = 0
        self._given_s: dict[str, float] = {}

    def due(self, now_s: float, switches: Iterable[str]) -> list[LoopProbe | EchoProbe]:
        """The probes whose turn it is. `switches` are those connected now; the others' readings are forgotten."""
        connected = list(switches)
        for gone in self._loops.keys() - set(connected):
            self.forget(gone)
        chosen = self._pacing.due(now_s, connected)
        return [probe for switch in chosen for probe in self._probes(now_s, switch)]

    def forget(self, switch: str) -> None:
        """A switch left, or came back: its control channel is another one now."""
        self._loops.pop(switch, None)
        for way in [way for way in self._ways if switch in way]:
            del self._ways[way]

    def loop_in(self, now_s: float, switch: str, content: bytes) -> bool:
        """A packet-in that may be a loop probe; True where it was one of ours (even late or repeated)."""
        ethernet = frames.decode_ethernet(content)
        if ethernet is None or ethernet.ethertype != frames.ETHERTYPE_EXPERIMENTAL:
            return False
        stamp = self._signer.read(ethernet.payload, StampKind.LOOP)
        if stamp is None:
            return False
        self._returned(now_s, switch, stamp)
        return True

    def echo_in(self, now_s: float, switch: str, content: bytes) -> bool:
        """The content of an echo reply; True where it answers one of our echo requests."""
        stamp = self._signer.read(content, StampKind.ECHO)
        if stamp is None:
            return False
        self._returned(now_s, switch, stamp)
        return True

    def arrived(self, arrival: LldpArrival) -> None:
        """An LLDP frame has crossed a link."""
        spent_s = arrival.received_s - arrival.sent_s
        if 0.0 <= spent_s <= self._timeout_s:
            way = self._ways.setdefault((arrival.a, arrival.b), WindowedMinimum(self._window_s))
            way.add(arrival.received_s, spent_s)

    def half_loop_s(self, now_s: float, switch: str) -> float | None:
        """Half the control loop of a switch in seconds; None where it was not measured within the window."""
        loop = self._loops.get(switch)
        if loop is None:
            return None
        probe_s = loop.probe.value(now_s)
        loop_s = probe_s if probe_s is not None else loop.echo.value(now_s)
        return loop_s / 2 if loop_s is not None else None

    def loop_source(self, now_s: float, switch: str) -> str:
        """Where a switch's control loop is known from: 'loop', 'echo' or 'none'."""
        loop = self._loops.get(switch)
        if loop is None or self.half_loop_s(now_s, switch) is None:
            return "none"
        return "echo" if loop.probe.value(now_s) is None else "loop"

    def direction_ms(self, now_s: float, a: str, b: str) -> float | None:
        """Delay from a to b in ms, not cut at zero; None without readings of the link and both loops in the window."""
        way = self._ways.get((a, b))
        spent_s = way.value(now_s) if way else None
        half_a_s, half_b_s = self.half_loop_s(now_s, a), self.half_loop_s(now_s, b)
        if spent_s is None or half_a_s is None or half_b_s is None:
            return None
        return (spent_s - half_a_s - half_b_s) * 1e3

    def samples(self, now_s: float) -> list[Sample]:
        """The delay of every link that was measured in both directions since it was last given."""
        readings = list[Sample]()
        for link in self.scenario.links:
            forward_ms = self.direction_ms(now_s, link.a, link.b)
            backward_ms = self.direction_ms(now_s, link.b, link.a)
            if forward_ms is not None and backward_ms is not None:
                at_s = min(self._ways[link.a, link.b].newest_s, self._ways[link.b, link.a].newest_s)
                delay_ms = max(0.0, (forward_ms + backward_ms) / 2)
                if at_s > self._given_s.get(link.id, float("-inf")):
                    readings.append(Sample(at_s, link.id, Quantity.LINK_DELAY, delay_ms))
                    self._given_s[link.id] = at_s
        return readings

    def _probes(self, now_s: float, switch: str) -> list[LoopProbe | EchoProbe]:
        loop = self._loops.setdefault(switch, _Loop(self._window_s))
        self._seq += 1
        dpid = self._dpids[switch]
        probes: list[LoopProbe | EchoProbe] = [LoopProbe(switch, dpid, self._seq, self._signer)]
        if loop.probe.value(now_s) is None:
            probes.append(EchoProbe(switch, dpid, self._seq, self._signer))
        return probes

    def _returned(self, now_s: float, switch: str, stamp: Stamp) -> None:
        loop = self._loops.get(switch)
        spent_s = now_s - stamp.sent_s
        if loop is None or stamp.subject != self._dpids[switch] or not 0.0 <= spent_s <= self._timeout_s:
            return
        (loop.probe if stamp.kind == StampKind.LOOP else loop.echo).add(now_s, spent_s)
