"""Chain probes on a simulated way: what is sent, what comes back how, and what is made of it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from controller import frames
from controller.probes import ChainProbe, ChainProbes, ProbeCounts, ProbeReturn
from controller.stamps import Signer
from twin.samples import Quantity
from twin.scenario import Flow
from twin.scenario_file import load_scenario

SCENARIO = load_scenario("small")
FIRST = {chain.id: SCENARIO.endpoint(chain.ingress).at for chain in SCENARIO.chains}
LAST = {chain.id: SCENARIO.endpoint(chain.egress).at for chain in SCENARIO.chains}
SIGNER = Signer(b"0123456789abcdef")


def half_loop(_switch: str) -> float:
    return 0.0005


class Way:
    """Carries each chain's probes with its own delay, past a NAT, and loses the numbers it is told to."""

    def __init__(self, **settings: float) -> None:
        self.probes = ChainProbes(SCENARIO, SIGNER, **settings)  # type: ignore[arg-type]
        self.delay_s = dict.fromkeys(FIRST, 0.020)
        self.lossy: set[str] = set()
        self.now_s = 50.0
        self.flying: list[tuple[float, ChainProbe, bytes]] = []
        self.sent: list[tuple[float, ChainProbe]] = []
        self.returns: list[ProbeReturn] = []

    def run(self, seconds: float, chains: dict[str, str] = FIRST) -> None:
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s += 0.01
            for probe in self.probes.due(self.now_s, chains):
                self.sent.append((self.now_s, probe))
                if probe.chain.id not in self.lossy:
                    self.flying.append((self.now_s + self.delay_s[probe.chain.id], probe, probe.encode(self.now_s)))
            self.land()

    def land(self) -> None:
        landed = [item for item in self.flying if item[0] <= self.now_s]
        self.flying = [item for item in self.flying if item[0] > self.now_s]
        for at_s, probe, content in landed:
            back = self.probes.probe_in(at_s, LAST[probe.chain.id], rewritten(content), half_loop)
            self.returns += [back] if back else []

    def read(self, quantity: Quantity) -> dict[str, float]:
        return {s.subject: s.value for s in self.probes.samples(self.now_s) if s.quantity == quantity}


def rewritten(content: bytes) -> bytes:
    """What a NAT, a balancer and the last switch's tag make of a packet."""
    ethernet = frames.decode_ethernet(content)
    assert ethernet
    packet = frames.decode_ipv4(ethernet.payload)
    assert packet
    udp = frames.decode_udp(packet)
    assert udp
    src, dst = "192.0.2.1", "10.0.0.99"
    segment = frames.encode_udp(frames.Udp(61000, 8080, udp.payload), src=src, dst=dst)
    inner = frames.encode_ipv4(replace(packet, src=src, dst=dst, payload=segment, ttl=61))
    return frames.encode_ethernet(replace(ethernet, payload=inner, vlans=(37,)))


def test_a_probe_is_a_packet_of_its_chain() -> None:
    probe = ChainProbes(SCENARIO, SIGNER).due(0.0, FIRST)[0]
    chain = probe.chain
    assert probe.switch == FIRST[chain.id]
    content = probe.encode(1.5)
    ethernet = frames.decode_ethernet(content)
    assert ethernet is not None
    assert (ethernet.src, ethernet.dst) == (
        SCENARIO.endpoint(chain.ingress).mac, SCENARIO.endpoint(chain.egress).mac
    )  # fmt: skip
    packet = frames.decode_ipv4(ethernet.payload)
    assert packet is not None
    assert (packet.src, packet.dst, packet.dscp) == (chain.flow.src_ip, chain.flow.dst_ip, 62)
    udp = frames.decode_udp(packet)
    assert udp is not None
    assert (udp.src_port, udp.dst_port) == (40000 + chain.number, chain.flow.dst_port)
    assert len(content) >= 64


def test_a_padded_probe_has_the_size_of_the_chains_packets() -> None:
    probe = ChainProbes(SCENARIO, SIGNER, padded=True).due(0.0, FIRST)[0]
    assert len(probe.encode(0.0)) == probe.chain.packet_bytes == 512


def test_a_tcp_chain_is_probed_by_tcp() -> None:
    tcp = replace(SCENARIO.chains[0], flow=Flow("10.0.0.1", "10.0.0.4", "tcp", 80))
    scenario = replace(SCENARIO, chains=(tcp,))
    probes = ChainProbes(scenario, SIGNER, padded=True)
    (probe,) = probes.due(0.0, {"web1": "edge1"})
    content = probe.encode(0.0)
    assert len(content) == 512
    ethernet = frames.decode_ethernet(content)
    packet = frames.decode_ipv4(ethernet.payload) if ethernet else None
    segment = frames.decode_tcp(packet) if packet else None
    assert segment is not None
    assert (segment.src_port, segment.dst_port) == (40001, 80)
    back = probes.probe_in(0.015, "core2", content, half_loop)
    assert back is not None
    assert back.delay_ms == pytest.approx(14.0)


def test_delay_is_the_way_less_both_half_loops() -> None:
    way = Way()
    way.delay_s["voice"] = 0.0335
    way.run(4.0)
    assert way.read(Quantity.CHAIN_DELAY) == {
        chain: pytest.approx(32.5 if chain == "voice" else 19.0, abs=1e-3) for chain in FIRST
    }
    assert way.returns[0].held is False


def test_probes_of_all_chains_are_interleaved_at_the_stated_rate() -> None:
    way = Way()
    way.run(10.0)
    times = [at_s for at_s, _ in way.sent]
    assert len(times) == pytest.approx(10 * 5 * len(FIRST), abs=2)
    assert len(set(times)) == len(times)
    for chain in FIRST:
        own = [at_s for at_s, probe in way.sent if probe.chain.id == chain]
        assert all(b - a == pytest.approx(0.2, abs=0.03) for a, b in pairwise(own))


def test_only_chains_that_are_steered_are_probed() -> None:
    way = Way()
    way.run(2.0, {"web1": "edge2"})
    assert {(probe.chain.id, probe.switch) for _, probe in way.sent} == {("web1", "edge2")}


def test_one_slow_probe_does_not_move_the_median_and_a_change_does_within_three_seconds() -> None:
    way = Way()
    way.run(4.0)
    way.delay_s["web1"] = 0.5
    way.run(0.4)
    way.delay_s["web1"] = 0.020
    way.run(0.5)
    assert way.read(Quantity.CHAIN_DELAY)["web1"] == pytest.approx(19.0, abs=1e-3)
    way.delay_s["web1"] = 0.030
    way.run(3.0)
    assert way.read(Quantity.CHAIN_DELAY)["web1"] == pytest.approx(29.0, abs=1e-3)


def test_loss_is_a_share_and_ends_the_delay_readings() -> None:
    way = Way()
    way.run(10.5)
    assert way.read(Quantity.CHAIN_LOSS) == dict.fromkeys(FIRST, 0.0)
    way.lossy = {"voice"}
    way.run(6.0)
    assert way.read(Quantity.CHAIN_LOSS)["voice"] == pytest.approx(0.5, abs=0.03)
    way.run(6.0)
    assert way.read(Quantity.CHAIN_LOSS)["voice"] == 1.0
    way.run(1.0)
    assert "voice" not in way.read(Quantity.CHAIN_DELAY)


def test_late_is_lost_and_twice_is_counted() -> None:
    probes = ChainProbes(SCENARIO, SIGNER, timeout_s=1.0)
    (probe,) = probes.due(10.0, {"web1": "edge1"})
    content = probe.encode(10.0)
    assert probes.probe_in(11.5, "core2", content, half_loop) is None
    assert probes.counts("web1") == ProbeCounts(sent=1, lost=1, late=1)
    assert probes.probe_in(11.6, "core2", content, half_loop) is None
    assert probes.counts("web1") == ProbeCounts(sent=1, lost=1, late=1, duplicated=1)
    (second,) = probes.due(12.0, {"web1": "edge1"})
    content = second.encode(12.0)
    assert probes.probe_in(12.1, "core2", content, half_loop) is not None
    assert probes.probe_in(12.1, "core2", content, half_loop) is None
    assert probes.counts("web1") == ProbeCounts(sent=2, returned=1, lost=1, late=1, duplicated=2)


def test_the_time_of_a_probe_is_that_of_its_encoding() -> None:
    probes = ChainProbes(SCENARIO, SIGNER)
    (probe,) = probes.due(10.0, {"web1": "edge1"})
    back = probes.probe_in(10.030, "core2", probe.encode(10.010), half_loop)
    assert back is not None
    assert back.delay_ms == pytest.approx(19.0)


def test_without_a_control_loop_a_return_counts_but_tells_no_delay() -> None:
    probes = ChainProbes(SCENARIO, SIGNER)
    (probe,) = probes.due(10.0, {"web1": "edge1"})
    back = probes.probe_in(10.02, "core2", probe.encode(10.0), lambda _switch: None)
    assert back is not None
    assert back.delay_ms != back.delay_ms
    assert [s.quantity for s in probes.samples(10.1)] == [Quantity.CHAIN_LOSS]


def test_faster_than_the_loops_is_zero() -> None:
    probes = ChainProbes(SCENARIO, SIGNER)
    (probe,) = probes.due(10.0, {"web1": "edge1"})
    back = probes.probe_in(10.0001, "core2", probe.encode(10.0), half_loop)
    assert back is not None
    assert back.delay_ms == 0.0


class TestMoves:
    def test_probes_around_a_move_are_kept_out_but_counted(self) -> None:
        way = Way()
        way.run(4.0)
        way.read(Quantity.CHAIN_DELAY)
        before = way.probes.counts("web1")
        way.probes.hold("web1")
        way.delay_s["web1"], way.lossy = 0.4, {"web2"}
        way.run(1.0)
        way.probes.release(way.now_s, "web1")
        way.run(0.9)
        way.delay_s["web1"] = 0.010
        assert "web1" not in way.read(Quantity.CHAIN_DELAY)
        way.run(1.5)
        assert way.read(Quantity.CHAIN_DELAY)["web1"] == pytest.approx(9.0, abs=1e-3)
        after = way.probes.counts("web1")
        assert after.returned - before.returned > 10
        assert any(back.held for back in way.returns)

    def test_losses_of_a_move_are_counted_and_not_sampled(self) -> None:
        way = Way()
        way.run(4.0)
        way.probes.hold("web1")
        way.lossy = {"web1"}
        way.run(1.0)
        way.lossy = set()
        way.probes.release(way.now_s, "web1")
        way.run(3.0)
        assert way.probes.counts("web1").lost == 5  # those that tell a move's silence are not counted
        assert way.read(Quantity.CHAIN_LOSS)["web1"] == 0.0

    def test_the_silence_of_a_move_is_the_longest_time_without_a_probe(self) -> None:
        way = Way()
        way.run(4.0)
        assert way.probes.silence_ms("web1") is None
        way.probes.hold("web1")
        way.run(0.5)
        way.lossy = {"web1"}
        way.run(0.3)
        way.lossy = set()
        way.run(0.5)
        way.probes.release(way.now_s, "web1")
        silence_ms = way.probes.silence_ms("web1")
        assert silence_ms == pytest.approx(300.0, abs=45.0)  # two intervals of a moving chain's probes
        way.run(5.0)  # those of a chain at rest come at long intervals, which are no silence
        assert way.probes.silence_ms("web1") == silence_ms

    def test_a_probe_on_its_way_when_the_move_begins_is_kept_out(self) -> None:
        probes = ChainProbes(SCENARIO, SIGNER)
        (probe,) = probes.due(10.0, {"web1": "edge1"})
        probes.hold("web1")
        back = probes.probe_in(10.02, "core2", probe.encode(10.0), half_loop)
        assert back is not None
        assert back.held
        assert probes.samples(10.1) == []

    def test_other_chains_go_on(self) -> None:
        way = Way()
        way.probes.hold("web1")
        way.run(4.0)
        assert way.read(Quantity.CHAIN_DELAY).keys() == {"web2", "video", "voice"}


def test_what_is_no_probe_of_this_run_is_counted_and_left() -> None:
    probes = ChainProbes(SCENARIO, SIGNER)
    (probe,) = probes.due(10.0, {"web1": "edge1"})
    old = replace(probe, signer=Signer(b"fedcba9876543210")).encode(10.0)
    broken = bytearray(probe.encode(10.0))
    broken[-1] ^= 0xFF
    for content in (b"", bytes(64), old, bytes(broken)):
        assert probes.probe_in(10.02, "core2", content, half_loop) is None
    assert probes.unknown == 4
    assert probes.counts("web1") == ProbeCounts(sent=1)


def test_samples_are_given_once() -> None:
    way = Way()
    way.run(2.0)
    assert len(way.probes.samples(way.now_s)) == 2 * len(FIRST)
    assert way.probes.samples(way.now_s) == []
