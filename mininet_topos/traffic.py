"""All senders and receivers of a scenario in one process, with a ledger per chain (docs/testbed.md, "Traffic").

Started by the test bed as `python -m mininet_topos.traffic`. The first line on stdin says where the hosts are, every
further one is a command (`start`, `stop`, `roam`); events go to stdout, one JSON object a line. It ends with its stdin.
"""

from __future__ import annotations

import heapq
import json
import select
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from mininet_topos import payload
from mininet_topos.cpu import CpuTimes
from mininet_topos.ledger import Ledger
from mininet_topos.lines import LineReader
from mininet_topos.load_process import Emit, run_load
from mininet_topos.pacing import Pacer
from mininet_topos.series import Series
from mininet_topos.sockets import EndpointSockets, arrivals, realtime_offset_ns
from twin.errors import InputError, VnftwinError
from twin.scenario import Scenario, ServiceChain
from twin.scenario_file import load_scenario
from twin.traffic import TrafficSource

READ_EVERY_NS = 10_000_000  # arrivals bear the kernel's time: reading them late costs nothing
RATE_EVERY_NS = 100_000_000
REPORT_EVERY_NS = 1_000_000_000
STRAGGLERS_LEAST_S, STRAGGLERS_MOST_S = 0.3, 2.0
ANNOUNCE_AT_S = (0.0, 0.1, 0.2, 0.4)  # an ARP may be lost, or come before its switch's rule
MAX_PPS = 100_000  # more than one process can send
HAND_OVER_S = 0.6  # how long a roaming user still sends where it was
ALWAYS = -1  # no run: what the agenda does whether traffic flows or not


@dataclass
class ChainTraffic:
    """One chain: sockets, schedule and ledger. `fixed_pps`, where given, overrides its profile; 0 is silence."""

    chain: ServiceChain
    user: EndpointSockets
    sockets: Mapping[str, socket.socket]
    pacer: Pacer = field(default_factory=Pacer)
    ledger: Ledger = field(default_factory=Ledger)
    fixed_pps: float | None = None

    def __post_init__(self) -> None:
        self._rest = payload.padding(self.chain.packet_bytes)
        self._to = (self.chain.flow.dst_ip, self.chain.flow.dst_port)

    def send_due(self, now_ns: int) -> None:
        """Sends what is due now. What the socket refuses is an error, not a packet sent: its number is used again."""
        out, ledger = self.sockets[self.user.at], self.ledger
        for _ in range(self.pacer.due(now_ns)):
            at_ns = time.monotonic_ns()
            try:
                out.sendto(payload.pack(self.chain.number, ledger.sent, at_ns, self._rest), self._to)
            except OSError:
                ledger.send_errors += 1
            else:
                ledger.note_sent(at_ns)

    def restart(self, fixed_pps: float | None) -> None:
        self.pacer, self.ledger, self.fixed_pps = Pacer(even=fixed_pps is not None), Ledger(), fixed_pps


class Traffic:
    """Everything that sends and receives. `serve` is its loop."""

    def __init__(self, scenario: Scenario, hosts: Mapping[str, Mapping[str, Any]], run_dir: Path, emit: Emit) -> None:
        self.scenario, self._emit = scenario, emit
        self._series = Series(run_dir / "ledger.csv")
        self.users = {e.id: EndpointSockets(e, **hosts[e.id]) for e in scenario.endpoints}
        self.chains = [self._chain(chain) for chain in scenario.chains]
        self._by_number = {t.chain.number: t for t in self.chains}
        ends = {(c.egress, c.flow.dst_port) for c in scenario.chains}
        self._receivers = [self.users[egress].receiver(port) for egress, port in sorted(ends)]
        # (due, number, run that it belongs to or ALWAYS, what to do)
        self._agenda: list[tuple[int, int, int, Callable[[], None]]] = []
        self._entries = self._run = 0
        self._source: TrafficSource | None = None
        self._started_ns = 0
        self._ends_ns = 0
        self._cpu_start = self._cpu_window = CpuTimes.read()

    def _chain(self, chain: ServiceChain) -> ChainTraffic:
        user = self.users[chain.ingress]
        return ChainTraffic(chain, user, user.senders(chain))

    def do(self, command: Mapping[str, Any]) -> None:
        """One command; what is wrong with it becomes an `error` event."""
        operations: dict[str, Callable[..., None]] = {"start": self.start, "stop": self.stop, "roam": self.roam}
        try:
            operations[command["op"]](**{k: v for k, v in command.items() if k != "op"})
        except (VnftwinError, KeyError, TypeError, ValueError) as error:
            reason = error if isinstance(error, VnftwinError) else f"{type(error).__name__}: {error}"
            self._emit({"event": "error", "message": f"traffic: {command.get('op')}: {reason}"})

    def start(self, seed: int, rates_pps: Mapping[str, float] | None = None, duration_s: float = 0.0) -> None:
        """New ledgers, then traffic. A chain in `rates_pps` sends steadily and evenly, others as the scenario says."""
        rates_pps = rates_pps or {}
        for name, pps in rates_pps.items():
            if name not in self.scenario.chain_index:
                raise InputError(f"unknown chain {name!r} in rates_pps")
            if not 0.0 <= pps < MAX_PPS:
                raise InputError(f"rate of {name}: {pps} is not within 0..{MAX_PPS} packets/s")
        self._read()  # stragglers of a run before this one belong to none
        for traffic in self.chains:
            traffic.restart(rates_pps.get(traffic.chain.id))
        self._source = TrafficSource(self.scenario, seed)
        self._run += 1
        self._started_ns = now_ns = time.monotonic_ns()
        self._cpu_start = self._cpu_window = CpuTimes.read()
        self._set_rates()
        self._at(now_ns + REPORT_EVERY_NS, self._report)
        for move in self.scenario.moves:
            roam = {"op": "roam", "endpoint": move.endpoint, "to": move.to}
            self._at(now_ns + int(move.at_s * 1e9), partial(self.do, roam))
        if duration_s > 0.0:
            self._at(now_ns + int(duration_s * 1e9), self.stop)

    def stop(self) -> None:
        """Stops sending, waits for stragglers (late duplicates too) and gives the ledger."""
        if self._source is None:
            raise InputError("no traffic runs")
        self._run += 1
        self._source, t_s = None, self._elapsed_s()
        idle = CpuTimes.read().idle_share_since(self._cpu_start)
        began = time.monotonic()
        while (waited := time.monotonic() - began) < STRAGGLERS_MOST_S:
            self._read()
            if waited > STRAGGLERS_LEAST_S and all(t.ledger.complete for t in self.chains):
                break
            time.sleep(0.02)
        accounts = {t.chain.id: t.ledger.account().as_json() for t in self.chains}
        self._emit({"event": "ledger", "t_s": t_s, "chains": accounts, "cpu_idle": idle})

    def roam(self, endpoint: str, to: str) -> None:
        """Soft hand-over: announces itself at the new switch, sends at the old one a little longer, then at the new."""
        if endpoint not in self.users:
            raise InputError(f"unknown endpoint {endpoint!r}")
        user, now_ns = self.users[endpoint], time.monotonic_ns()
        user.announcer(to)
        for after_s in ANNOUNCE_AT_S:
            self._at(now_ns + int(after_s * 1e9), lambda: user.announce(to), run=ALWAYS)
        self._at(now_ns + int(HAND_OVER_S * 1e9), lambda: self._hand_over(user, to), run=ALWAYS)

    def _hand_over(self, user: EndpointSockets, to: str) -> None:
        was, user.at = user.at, to
        port = user.attachments[to]["port"]
        self._emit(
            {"event": "roamed", "endpoint": user.endpoint.id, "from": was, "to": to, "port": port,
             "t_s": self._elapsed_s()}
        )  # fmt: skip

    def serve(self, commands: LineReader) -> None:
        """Until stdin ends: what is due is done, then sleep until the next is, or a command comes."""
        self._read_again()
        while not commands.ended:
            now_ns = time.monotonic_ns()
            self._run_agenda(now_ns)
            next_ns = self._agenda[0][0] if self._agenda else now_ns + READ_EVERY_NS
            if self._source is not None:
                next_ns = self._send(now_ns, next_ns)
            wait_s = max(0.0, (next_ns - time.monotonic_ns()) / 1e9)
            if commands.waiting or select.select([commands], (), (), wait_s)[0]:
                for line in commands.read():
                    self.do(json.loads(line))

    def _send(self, now_ns: int, next_ns: int) -> int:
        """Sends what is due; returns when to look again, `next_ns` at the latest."""
        for traffic in self.chains:
            pacer = traffic.pacer
            if pacer.rate_pps > 0.0:
                if pacer.next_ns <= now_ns:
                    traffic.send_due(now_ns)
                next_ns = min(next_ns, pacer.next_ns)
        return next_ns

    def _at(self, due_ns: int, action: Callable[[], None], *, run: int | None = None) -> None:
        """Something to do later: forgotten when the traffic that runs now has stopped, unless `run` is ALWAYS."""
        self._entries += 1
        heapq.heappush(self._agenda, (due_ns, self._entries, self._run if run is None else run, action))

    def _run_agenda(self, now_ns: int) -> None:
        while self._agenda and self._agenda[0][0] <= now_ns:
            _, _, run, action = heapq.heappop(self._agenda)
            if run in (ALWAYS, self._run):
                action()

    def _set_rates(self) -> None:
        """Every tenth of a second, what each chain offers now."""
        if self._source is None:
            return
        now_ns = time.monotonic_ns()
        offered = self._source.offered_mbps(self._elapsed_s())
        for traffic, mbps in zip(self.chains, offered, strict=True):
            udp = traffic.chain.flow.proto != "tcp"  # a chain of TCP has its own kind of load (tcp_load)
            profile_pps = float(mbps) * 1e6 / (8 * traffic.chain.packet_bytes) if udp else 0.0
            traffic.pacer.set_rate(profile_pps if traffic.fixed_pps is None else traffic.fixed_pps, now_ns)
        self._at(now_ns + RATE_EVERY_NS, self._set_rates)

    def _read(self) -> None:
        offset_ns = realtime_offset_ns()
        for receiver in self._receivers:
            for arrival in arrivals(receiver, offset_ns):
                traffic = self._by_number.get(arrival.stamp.chain)
                if traffic is not None:
                    traffic.ledger.note_received(arrival.stamp.number, arrival.stamp.sent_ns, arrival.received_ns)

    def _read_again(self) -> None:
        self._read()
        self._at(time.monotonic_ns() + READ_EVERY_NS, self._read_again, run=ALWAYS)

    def _report(self) -> None:
        """Once a second: what happened in it, as an event and as rows of the series."""
        cpu = CpuTimes.read()
        idle, self._cpu_window = cpu.idle_share_since(self._cpu_window), cpu
        t_s = self._elapsed_s()
        chains = {}
        for traffic in self.chains:
            ledger = traffic.ledger
            recent = ledger.window()
            window = recent.delay_ms
            chains[traffic.chain.id] = {
                "sent": ledger.sent, "received": ledger.received, "window_received": window.count,
                "delay_ms": window.mean if window.count else None, "delay_p95_ms": window.p95 if window.count else None,
                "delay_p50_ms": window.p50 if window.count else None,
                "rate_pps": traffic.pacer.rate_pps, "silence_ms": recent.silence_ms, "pause_ms": recent.pause_ms,
            }  # fmt: skip
        self._series.add(t_s, chains, idle)
        self._emit({"event": "traffic", "t_s": t_s, "chains": chains, "cpu_idle": idle})
        self._at(time.monotonic_ns() + REPORT_EVERY_NS, self._report)

    def _elapsed_s(self) -> float:
        return (time.monotonic_ns() - self._started_ns) / 1e9 if self._started_ns else 0.0


if __name__ == "__main__":
    run_load(lambda spec, emit: Traffic(load_scenario(spec["scenario"]), spec["hosts"], Path(spec["run_dir"]), emit))
