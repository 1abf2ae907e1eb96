"""The network functions over a real wire: frames in, frames out, checksums computed in full."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from controller.containers import ContainerError
from tests.contract.conftest import Rig, command, wire_up
from tests.contract.frames import ICMP, TCP, UDP, Datagram, build, wait_until

pytestmark = pytest.mark.root

Start = Callable[..., Rig]
INSIDE, OUTSIDE, EXTERNAL, VIRTUAL = "10.0.0.1", "10.8.0.2", "10.9.0.1", "10.7.0.1"


def counters(rig: Rig) -> dict[str, Any]:
    return rig.ask("counters")


class TestFirewall:
    def test_first_matching_rule_decides(self, rig: Start) -> None:
        vnf = rig("function firewall", "rule accept udp 10.0.0.1 any 53", "rule deny udp 10.0.0.0/8 any 50-60",
                  "default accept")  # fmt: skip
        allowed = Datagram(INSIDE, OUTSIDE, dst_port=53)
        other = Datagram("10.0.0.9", OUTSIDE, dst_port=53)
        edges = [replace(other, dst_port=port) for port in (49, 50, 60, 61)]
        assert vnf.wire.pass_through(allowed, other, *edges) == [allowed, edges[0], edges[3]]

    def test_counts_per_rule_and_default(self, rig: Start) -> None:
        vnf = rig("function firewall", "rule deny tcp any 10.8.0.0/16 any", "default accept")
        vnf.wire.pass_through(*[Datagram(INSIDE, OUTSIDE, TCP)] * 3, Datagram(INSIDE, OUTSIDE))
        seen = counters(vnf)
        assert [rule["packets"] for rule in seen["rules"]] == [3]
        assert seen["default"]["packets"] == 1
        assert (seen["rx_packets"], seen["tx_packets"], seen["dropped_packets"]) == (5, 2, 3)  # and the marker

    def test_default_deny_drops_the_rest(self, rig: Start) -> None:
        vnf = rig("function firewall", "rule accept icmp any any any", "default deny")
        echo = Datagram(INSIDE, OUTSIDE, ICMP)
        assert vnf.wire.pass_through(echo, Datagram(INSIDE, OUTSIDE)) == [echo]

    def test_port_rule_matches_nothing_without_ports(self, rig: Start) -> None:
        """A later fragment begins with bytes that look like ports; an echo's identifier is none."""
        vnf = rig("function firewall", "rule accept any any any 2000", "default deny")
        fragment = Datagram(INSIDE, OUTSIDE, dst_port=2000, fragment=5)
        echo = Datagram(INSIDE, OUTSIDE, ICMP, src_port=2000)
        with_port = Datagram(INSIDE, OUTSIDE, dst_port=2000)
        assert vnf.wire.pass_through(fragment, echo, with_port) == [with_port]

    def test_tracked_connections_pass_in_both_directions(self, rig: Start) -> None:
        vnf = rig("function firewall", "rule accept any 10.0.0.1 any any", "default deny", "track on")
        out, back = Datagram(INSIDE, OUTSIDE, TCP), Datagram(OUTSIDE, INSIDE, TCP, 2000, 1000)
        assert vnf.wire.pass_through(back, out, back, replace(back, dst_port=1001)) == [out, back]
        seen = counters(vnf)
        assert (seen["tracked_packets"], seen["entries"], seen["default"]["packets"]) == (1, 1, 2)

    def test_a_tracked_connection_ends_after_its_timeout(self, rig: Start) -> None:
        vnf = rig("function firewall", "rule accept any 10.0.0.1 any any", "default deny", "track on", "timeout_s 1")
        vnf.wire.pass_through(Datagram(INSIDE, OUTSIDE))
        time.sleep(1.1)
        assert vnf.wire.pass_through(Datagram(OUTSIDE, INSIDE, src_port=2000, dst_port=1000)) == []

    def test_dscp_and_payload_are_kept(self, rig: Start) -> None:
        vnf = rig("function firewall")
        sent = Datagram(INSIDE, OUTSIDE, payload=os.urandom(1400), dscp=62)
        assert vnf.wire.pass_through(sent) == [sent]


class TestNat:
    @pytest.mark.parametrize("proto", [UDP, TCP, ICMP])
    def test_translates_out_and_back(self, rig: Start, proto: int) -> None:
        vnf = rig("function nat", f"external {EXTERNAL}")
        sent = Datagram(INSIDE, OUTSIDE, proto, dscp=62, payload=b"odd")
        [out] = vnf.wire.pass_through(sent)
        assert out == replace(sent, src=EXTERNAL)
        assert out.sound
        port = out.src_port
        answer = Datagram(OUTSIDE, EXTERNAL, proto, 2000 if proto != ICMP else port, port)
        [back] = vnf.wire.pass_through(answer)
        assert back.dst == INSIDE
        assert back.sound

    def test_same_source_keeps_its_port_and_a_taken_port_gives_the_next(self, rig: Start) -> None:
        vnf = rig("function nat", f"external {EXTERNAL}")
        first = Datagram("10.0.0.1", OUTSIDE, src_port=5000)
        second = Datagram("10.0.0.2", OUTSIDE, src_port=5000)
        third = Datagram("10.0.0.3", OUTSIDE, src_port=5000)
        out = vnf.wire.pass_through(first, second, first, third)
        assert [d.src_port for d in out] == [5000, 5001, 5000, 5002]
        assert all(d.sound and d.src == EXTERNAL for d in out)
        [back] = vnf.wire.pass_through(Datagram(OUTSIDE, EXTERNAL, dst_port=5001))
        assert (back.dst, back.dst_port, back.sound) == ("10.0.0.2", 5000, True)

    def test_udp_without_checksum_stays_without(self, rig: Start) -> None:
        vnf = rig("function nat", f"external {EXTERNAL}")
        [out] = vnf.wire.pass_through(Datagram(INSIDE, OUTSIDE, checksummed=False))
        assert not out.checksummed

    @pytest.mark.slow
    def test_checksums_hold_for_every_value_of_the_payload(self, rig: Start) -> None:
        """Among 65,536 payload words every checksum occurs, so also those where one's complement has two zeros."""
        vnf = rig("function nat", f"external {EXTERNAL}")
        out: list[Datagram] = []
        for first in range(0, 1 << 16, 128):
            batch = [Datagram(INSIDE, OUTSIDE, payload=n.to_bytes(2, "big")) for n in range(first, first + 128)]
            out += vnf.wire.pass_through(*batch)
        assert len(out) == 1 << 16
        assert all(d.sound and d.checksummed for d in out)

    def test_answer_to_nobody_is_dropped_and_counted(self, rig: Start) -> None:
        vnf = rig("function nat", f"external {EXTERNAL}")
        assert vnf.wire.pass_through(Datagram(OUTSIDE, EXTERNAL, dst_port=4444)) == []
        assert counters(vnf)["untranslatable_packets"] == 1

    def test_mapping_ends_after_its_timeout(self, rig: Start) -> None:
        vnf = rig("function nat", f"external {EXTERNAL}", "timeout_s 1")
        vnf.wire.pass_through(Datagram("10.0.0.1", OUTSIDE))
        time.sleep(1.1)
        assert vnf.wire.pass_through(Datagram(OUTSIDE, EXTERNAL, dst_port=1000)) == []
        [out] = vnf.wire.pass_through(Datagram("10.0.0.2", OUTSIDE))
        assert out.src_port == 1000  # free again

    def test_full_table_drops_new_flows_only(self, rig: Start) -> None:
        vnf = rig("function nat", f"external {EXTERNAL}", "entries 2")
        flows = [Datagram(INSIDE, OUTSIDE, src_port=port) for port in (1, 2, 3)]
        assert [d.src_port for d in vnf.wire.pass_through(*flows, flows[0])] == [1, 2, 1]
        assert (counters(vnf)["full_packets"], counters(vnf)["entries"]) == (1, 2)


class TestMonitor:
    def test_counts_each_flow(self, rig: Start) -> None:
        vnf = rig("function monitor")
        a, b = Datagram(INSIDE, OUTSIDE, src_port=1), Datagram(INSIDE, OUTSIDE, TCP, src_port=2, payload=b"x" * 500)
        assert vnf.wire.pass_through(a, b, a) == [a, b, a]
        seen = counters(vnf)
        assert [(f["flow"]["src_port"], f["packets"], f["bytes"]) for f in seen["flows"]] == [
            (2, 1, len(build(b))),
            (1, 2, 2 * len(build(a))),
        ]
        assert seen["flows"][1]["first_ms_ago"] >= seen["flows"][1]["last_ms_ago"]

    def test_bounded_table_evicts_the_flow_unseen_for_longest(self, rig: Start) -> None:
        vnf = rig("function monitor", "entries 2")
        flows = [Datagram(INSIDE, OUTSIDE, src_port=port) for port in (1, 2, 3)]
        vnf.wire.pass_through(flows[0], flows[1], flows[0], flows[2])
        seen = counters(vnf)
        assert sorted(f["flow"]["src_port"] for f in seen["flows"]) == [1, 3]
        assert seen["evicted_flows"] == 1


class TestBalancer:
    LINES = ("function balancer", f"virtual {VIRTUAL}", "backend 10.1.0.1", "backend 10.1.0.2", "backend 10.1.0.3")

    def test_a_flow_keeps_its_backend_and_answers_come_from_the_virtual_address(self, rig: Start) -> None:
        vnf = rig(*self.LINES)
        sent = Datagram(INSIDE, VIRTUAL, TCP, payload=b"odd", dscp=10)
        out = vnf.wire.pass_through(sent, sent)
        assert out[0] == out[1] == replace(sent, dst=out[0].dst)
        assert out[0].dst.startswith("10.1.0.")
        assert out[0].sound
        [back] = vnf.wire.pass_through(Datagram(out[0].dst, INSIDE, TCP, 2000, 1000))
        assert (back.src, back.sound) == (VIRTUAL, True)

    def test_flows_are_spread_and_other_destinations_left_alone(self, rig: Start) -> None:
        vnf = rig(*self.LINES)
        flows = [Datagram(INSIDE, VIRTUAL, src_port=port) for port in range(1, 301)]
        out = [d for start in range(0, 300, 50) for d in vnf.wire.pass_through(*flows[start : start + 50])]
        per_backend = [sum(d.dst == f"10.1.0.{n}" for d in out) for n in (1, 2, 3)]
        assert sum(per_backend) == 300
        assert min(per_backend) >= 60  # 100 ± 5 standard deviations of 8.2
        other = Datagram(INSIDE, OUTSIDE)
        assert vnf.wire.pass_through(other) == [other]

    def test_two_instances_choose_alike_and_a_lost_backend_moves_only_its_flows(self, rig: Start) -> None:
        flows = [Datagram(INSIDE, VIRTUAL, src_port=port) for port in range(1, 41)]
        before = rig(*self.LINES).wire.pass_through(*flows)
        assert rig(*self.LINES).wire.pass_through(*flows) == before
        after = rig(*self.LINES[:-1]).wire.pass_through(*flows)
        moved = [b for b, a in zip(before, after, strict=True) if b.dst != a.dst]
        assert moved == [b for b in before if b.dst == "10.1.0.3"]
        assert moved

    def test_without_a_virtual_address_everything_is_balanced_and_restored(self, rig: Start) -> None:
        vnf = rig("function balancer", "backend 10.1.0.1")
        [out] = vnf.wire.pass_through(Datagram(INSIDE, OUTSIDE))
        assert out.dst == "10.1.0.1"
        [back] = vnf.wire.pass_through(Datagram("10.1.0.1", INSIDE, src_port=2000, dst_port=1000))
        assert (back.src, back.sound) == (OUTSIDE, True)


class TestPort:
    def test_other_ethertypes_pass_unless_denied(self, rig: Start) -> None:
        arp = b"\xff" * 6 + bytes.fromhex("0200000000aa0806") + bytes(46)
        vnf = rig("function firewall", "default deny")
        vnf.wire.send(arp)
        assert vnf.wire.receive(1) == [arp]
        vnf = rig("function firewall", "non_ipv4 deny")
        vnf.wire.send(arp)
        vnf.wire.send(build(Datagram(INSIDE, OUTSIDE)))
        assert vnf.wire.receive(2, timeout_s=0.3) == [build(Datagram(INSIDE, OUTSIDE))]

    def test_malformed_packet_is_dropped_and_counted(self, rig: Start) -> None:
        vnf = rig("function monitor")
        good = build(Datagram(INSIDE, OUTSIDE))
        too_long = good[:16] + (2000).to_bytes(2, "big") + good[18:]
        short_header = good[:14] + b"\x41" + good[15:]
        for frame in (too_long, short_header, good[:20], good):
            vnf.wire.send(frame)
        assert vnf.wire.receive(2, timeout_s=0.3) == [good]
        assert counters(vnf)["malformed_packets"] == 3

    def test_interface_may_go_and_come_again(self, rig: Start) -> None:
        vnf = rig("function firewall")
        vnf.wire.close()
        command("ip", "link", "del", "w0")
        assert wait_until(lambda: vnf.ask("health")["interface_up"] is False)
        wire = wire_up(vnf.instance.pid, "w0")
        vnf.engine.wait_ready(vnf.instance, timeout_s=5)
        sent = Datagram(INSIDE, OUTSIDE)
        assert wire.pass_through(sent) == [sent]
        wire.close()

    def test_work_costs_what_it_says(self, rig: Start) -> None:
        """Four times the work, measured by the kernel: the difference must be near 400 packets of 1,500 µs."""
        spent = []
        for work_us in (500, 2000):
            vnf = rig("function firewall", f"work_us {work_us}")
            before = vnf.engine.usage(vnf.instance).cpu_s
            for _ in range(40):
                vnf.wire.pass_through(*[Datagram(INSIDE, OUTSIDE)] * 10)
            spent.append(vnf.engine.usage(vnf.instance).cpu_s - before)
        assert spent[1] - spent[0] == pytest.approx(400 * 1500e-6, rel=0.35)


class TestConfigure:
    def configure(self, vnf: Rig, *lines: str) -> dict[str, object]:
        return vnf.ask("configure " + base64.b64encode("\n".join(lines).encode()).decode())

    def test_takes_effect_and_keeps_the_tables(self, rig: Start) -> None:
        vnf = rig("function nat", f"external {EXTERNAL}")
        sources = [Datagram(f"10.0.0.{n}", OUTSIDE, src_port=5000) for n in (1, 2)]
        vnf.wire.pass_through(*sources)
        self.configure(vnf, "function nat", f"external {EXTERNAL}", "top 1")
        assert (counters(vnf)["entries"], len(counters(vnf)["flows"])) == (2, 1)
        [out] = vnf.wire.pass_through(sources[1])
        assert out.src_port == 5001

    def test_a_bad_one_is_told_with_its_line_and_changes_nothing(self, rig: Start) -> None:
        vnf = rig("function firewall", "rule deny udp any any 9", "default accept")
        with pytest.raises(ContainerError, match=r"line 2: not an IPv4 prefix: 10\.0\.0\.0/99"):
            self.configure(vnf, "function firewall", "rule deny udp 10.0.0.0/99 any 53")
        assert vnf.wire.pass_through(Datagram(INSIDE, OUTSIDE, dst_port=9)) == []

    def test_removed_backend_loses_its_flows(self, rig: Start) -> None:
        vnf = rig("function balancer", "backend 10.1.0.1")
        vnf.wire.pass_through(Datagram(INSIDE, OUTSIDE))
        self.configure(vnf, "function balancer", "backend 10.1.0.2")
        [out] = vnf.wire.pass_through(Datagram(INSIDE, OUTSIDE))
        assert out.dst == "10.1.0.2"
