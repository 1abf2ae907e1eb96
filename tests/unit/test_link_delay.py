"""Link delay over simulated control channels: noise only ever adds, loops are asymmetric, probes get lost."""

from __future__ import annotations

import random

import pytest

from controller.link_delay import EchoProbe, LinkDelays, LoopProbe, WindowedMinimum
from controller.lldp import LldpArrival
from controller.stamps import Signer
from twin.samples import Quantity
from twin.scenario_file import load_scenario

SCENARIO = load_scenario("small")
SWITCHES = [switch.id for switch in SCENARIO.switches]
SIGNER = Signer(b"0123456789abcdef")


class Lab:
    """Switches with a way out and a way in of the control channel each, and noise on every passage (seconds)."""

    def __init__(self, *, out_s: float = 0.0006, in_s: float = 0.0007, noise_s: float = 0.001, seed: int = 1) -> None:
        self.delays = LinkDelays(SCENARIO, SIGNER, loop_period_s=0.5)
        self.rng = random.Random(seed)
        self.out_s = dict.fromkeys(SWITCHES, out_s)
        self.in_s = dict.fromkeys(SWITCHES, in_s)
        self.noise_s = noise_s
        self.loops_return, self.echoes_return = True, True
        self.link_ms = {link.id: link.delay_ms for link in SCENARIO.links}
        self.now_s = 1000.0
        self.sent: list[LoopProbe | EchoProbe] = []

    def noise(self) -> float:
        return self.rng.expovariate(1 / self.noise_s) if self.noise_s else 0.0

    def run(self, seconds: float, switches: list[str] = SWITCHES) -> None:
        """Loop probes as they fall due, and one LLDP frame per direction and second."""
        end_s, lldp_s = self.now_s + seconds, self.now_s
        while self.now_s < end_s:
            self.now_s += 0.05
            for probe in self.delays.due(self.now_s, switches):
                self.sent.append(probe)
                self._answer(probe)
            if self.now_s >= lldp_s:
                lldp_s += 1.0
                self._cross(switches)

    def _answer(self, probe: LoopProbe | EchoProbe) -> None:
        content, switch = probe.encode(self.now_s), probe.switch
        spent_s = self.out_s[switch] + self.in_s[switch] + self.noise()
        if isinstance(probe, LoopProbe) and self.loops_return:
            assert self.delays.loop_in(self.now_s + spent_s, switch, content)
        if isinstance(probe, EchoProbe) and self.echoes_return:
            assert self.delays.echo_in(self.now_s + spent_s, switch, content)

    def _cross(self, switches: list[str]) -> None:
        for link in SCENARIO.links:
            for a, b in ((link.a, link.b), (link.b, link.a)):
                if a in switches and b in switches:
                    spent_s = self.out_s[a] + self.link_ms[link.id] / 1e3 + self.in_s[b] + self.noise()
                    self.delays.arrived(LldpArrival(a, 1, b, 1, self.now_s, self.now_s + spent_s))

    def read(self) -> dict[str, float]:
        samples = self.delays.samples(self.now_s)
        assert all(s.quantity == Quantity.LINK_DELAY for s in samples)
        return {s.subject: s.value for s in samples}


def test_without_noise_the_configured_delay_is_read_exactly() -> None:
    lab = Lab(noise_s=0.0)
    lab.run(3.0)
    assert lab.read() == {link.id: pytest.approx(link.delay_ms, abs=1e-3) for link in SCENARIO.links}


@pytest.mark.parametrize("seed", range(5))
def test_with_noise_of_a_millisecond_every_link_is_within_half_a_millisecond(seed: int) -> None:
    lab = Lab(noise_s=0.001, seed=seed)
    lab.run(10.0)
    assert lab.read() == {link.id: pytest.approx(link.delay_ms, abs=0.5) for link in SCENARIO.links}


def test_lopsided_control_channels_cancel() -> None:
    """One switch whose way out takes 3 ms and back none: halving is wrong by 1.5 ms, the mean of directions not."""
    lab = Lab(noise_s=0.0)
    lab.out_s["core1"], lab.in_s["core1"] = 0.003, 0.0
    lab.run(3.0)
    assert lab.delays.direction_ms(lab.now_s, "core1", "core2") == pytest.approx(4.0 + 1.5, abs=0.1)
    assert lab.read()["core1-core2"] == pytest.approx(4.0, abs=1e-3)


def test_a_rise_shows_after_the_window_and_a_fall_at_once() -> None:
    lab = Lab(noise_s=0.0)
    lab.run(12.0)
    lab.link_ms["core1-core2"] = 15.0
    lab.run(11.5)
    assert lab.read()["core1-core2"] == pytest.approx(15.0, abs=0.1)
    lab.link_ms["core1-core2"] = 3.0
    lab.run(1.5)
    assert lab.read()["core1-core2"] == pytest.approx(3.0, abs=0.1)


def test_less_than_nothing_is_nothing() -> None:
    lab = Lab(noise_s=0.0)
    lab.link_ms["core1-core2"] = -0.4
    lab.run(3.0)
    assert lab.read()["core1-core2"] == 0.0


def test_echo_stands_in_where_no_loop_probe_returns_and_stops_when_it_does() -> None:
    lab = Lab(noise_s=0.0)
    lab.loops_return = False
    lab.run(5.0)
    assert lab.delays.loop_source(lab.now_s, "core1") == "echo"
    assert lab.read()["core1-core2"] == pytest.approx(4.0, abs=1e-3)
    lab.loops_return = True
    lab.run(2.0)
    lab.sent.clear()
    lab.run(2.0)
    assert lab.delays.loop_source(lab.now_s, "core1") == "loop"
    assert {type(probe) for probe in lab.sent} == {LoopProbe}


def test_without_any_loop_there_is_no_reading() -> None:
    lab = Lab()
    lab.loops_return = lab.echoes_return = False
    lab.run(5.0)
    assert lab.read() == {}
    assert lab.delays.half_loop_s(lab.now_s, "core1") is None
    assert lab.delays.loop_source(lab.now_s, "core1") == "none"


def test_a_link_heard_in_one_direction_has_no_reading() -> None:
    lab = Lab(noise_s=0.0)
    lab.run(3.0)
    lab.delays.forget("core1")
    lab.run(1.0, ["core2"])
    lab.delays.arrived(LldpArrival("core1", 1, "core2", 1, lab.now_s, lab.now_s + 0.01))
    assert "core1-core2" not in lab.read()


def test_a_reading_is_given_once_and_bears_the_time_of_its_frames() -> None:
    lab = Lab(noise_s=0.0)
    lab.run(3.0)
    samples = lab.delays.samples(lab.now_s)
    assert samples
    assert all(lab.now_s - 1.1 < s.at_s <= lab.now_s + 0.05 for s in samples)
    assert lab.delays.samples(lab.now_s) == []
    lab.run(30.0, [])
    assert lab.read() == {}


def test_a_switch_that_leaves_and_returns_starts_anew() -> None:
    lab = Lab(noise_s=0.0)
    lab.run(5.0)
    lab.run(1.0, [s for s in SWITCHES if s != "core1"])
    assert lab.delays.half_loop_s(lab.now_s, "core1") is None
    lab.out_s["core1"] = lab.in_s["core1"] = 0.004
    lab.run(3.0)
    assert lab.delays.half_loop_s(lab.now_s, "core1") == pytest.approx(0.004, abs=1e-6)
    assert lab.read()["core1-core2"] == pytest.approx(4.0, abs=1e-3)


def test_a_late_probe_counts_for_nothing() -> None:
    delays = LinkDelays(SCENARIO, SIGNER, timeout_s=1.0)
    (probe, _echo) = delays.due(10.0, ["core1"])
    assert delays.loop_in(12.0, "core1", probe.encode(10.0))
    assert delays.half_loop_s(12.0, "core1") is None


def test_a_frame_that_took_too_long_or_came_before_it_was_sent_counts_for_nothing() -> None:
    delays = LinkDelays(SCENARIO, SIGNER, timeout_s=1.0)
    for at_s in (10.0, 10.2):
        for probe in delays.due(at_s, ["core1", "core2"]):
            delays.loop_in(at_s + 0.001, probe.switch, probe.encode(at_s))
    for spent_s in (1.5, -0.5):
        delays.arrived(LldpArrival("core1", 1, "core2", 1, 10.0, 10.0 + spent_s))
        assert delays.direction_ms(10.3, "core1", "core2") is None
    delays.arrived(LldpArrival("core1", 1, "core2", 1, 10.0, 10.02))
    assert delays.direction_ms(10.3, "core1", "core2") == pytest.approx(19.0)


def test_what_is_not_ours_is_left_to_others() -> None:
    delays = LinkDelays(SCENARIO, SIGNER)
    probe, *_others = [p for at_s in (10.0, 10.2) for p in delays.due(at_s, ["core1", "core2"])]
    assert probe.switch == "core1"
    forged = LoopProbe("core1", 1, 1, Signer(b"fedcba9876543210")).encode(10.0)
    for content in (b"", bytes(60), forged):
        assert not delays.loop_in(10.001, "core1", content)
        assert not delays.echo_in(10.001, "core1", content)
    assert delays.loop_in(10.001, "core2", probe.encode(10.0))
    assert delays.half_loop_s(10.001, "core1") is None
    assert delays.half_loop_s(10.001, "core2") is None


def test_every_switch_is_probed_at_the_stated_rate() -> None:
    lab = Lab()
    lab.run(10.0)
    loops = [probe.switch for probe in lab.sent if isinstance(probe, LoopProbe)]
    assert all(loops.count(switch) == pytest.approx(20, abs=1) for switch in SWITCHES)


def test_windowed_minimum_is_that_of_a_list() -> None:
    rng, window, kept = random.Random(3), WindowedMinimum(5.0), list[tuple[float, float]]()
    for step in range(500):
        now_s = step * 0.3
        if rng.random() < 0.6:
            kept.append((now_s, rng.random()))
            window.add(*kept[-1])
        inside = [value for at_s, value in kept if at_s >= now_s - 5.0]
        assert window.value(now_s) == (min(inside) if inside else None)
