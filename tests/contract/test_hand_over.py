"""State handed over between two instances: nothing is lost, nothing is sent twice, and always one of them serves."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from controller.containers import ContainerError
from controller.hand_over import End, can_hand_over, connect, copy_state, is_standby, take_over
from tests.contract.conftest import Bench, Rig, own_network, wire_up
from tests.contract.frames import TCP, Datagram, build, parse, wait_until

pytestmark = pytest.mark.root

Start = Callable[..., Rig]
INSIDE, OUTSIDE, EXTERNAL, VIRTUAL = "10.0.0.1", "10.8.0.2", "10.9.0.1", "10.7.0.1"
NAT = ("function nat", f"external {EXTERNAL}")
BALANCER = ("function balancer", f"virtual {VIRTUAL}", "backend 10.1.0.1", "backend 10.1.0.2", "backend 10.1.0.3")
FIREWALL = ("function firewall", "rule accept udp 10.0.0.0/24 any any", "default deny", "track on")
MONITOR = ("function monitor",)


def end(rig: Rig) -> End:
    return End(rig.engine, rig.instance)


def status(rig: Rig) -> dict[str, Any]:
    return rig.ask("handover status")


def pair(rig: Start, *lines: str) -> tuple[Rig, Rig]:
    return rig(*lines), rig(*lines, standby=True)


def hand_over(source: Rig, target: Rig) -> None:
    copy_state(end(source), end(target))
    take_over(end(source), end(target))


def flows(rig: Rig) -> list[tuple[Any, ...]]:
    """What `counters` says of every entry, in a form to compare; the ages are compared elsewhere."""
    shown = rig.ask("counters")["flows"]
    assert isinstance(shown, list)
    return sorted((str(f["flow"]), str(f.get("answer")), f["packets"], f["bytes"]) for f in shown)


def pause(rig: Rig) -> None:
    """Returns when it has really stopped."""
    os.kill(rig.instance.pid, signal.SIGSTOP)
    assert wait_until(lambda: _state(rig) == "T")


def _state(rig: Rig) -> str:
    with open(f"/proc/{rig.instance.pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0]


def kill(rig: Rig) -> None:
    os.kill(rig.instance.pid, signal.SIGKILL)
    assert wait_until(lambda: not next(i for i in rig.engine.instances() if i.name == rig.instance.name).running)


@pytest.fixture
def resumed() -> Iterator[list[Rig]]:
    """Paused instances put here go on at the end, so that they can be stopped."""
    paused: list[Rig] = []
    yield paused
    for one in paused:
        os.kill(one.instance.pid, signal.SIGCONT)


class TestWhatIsHandedOver:
    def test_a_nats_ports_go_on_and_back(self, rig: Start) -> None:
        a, b = pair(rig, *NAT)
        sent = [Datagram(f"10.0.0.{n}", OUTSIDE, src_port=5000) for n in range(1, 6)]
        before = a.wire.pass_through(*sent)
        hand_over(a, b)
        assert b.wire.pass_through(*sent) == before
        [back] = b.wire.pass_through(Datagram(OUTSIDE, EXTERNAL, dst_port=5003))
        assert (back.dst, back.dst_port) == ("10.0.0.4", 5000)
        new = Datagram("10.0.0.9", OUTSIDE, src_port=5000)
        [told] = b.wire.pass_through(new)
        take_over(end(b), end(a))
        assert a.wire.pass_through(*sent, new) == [*before, told]
        assert [told.src_port] == [5005]

    def test_a_balancers_flows_keep_backends_that_hashing_would_not_give(self, rig: Start) -> None:
        a, b = pair(rig, *BALANCER)
        sent = [Datagram(INSIDE, VIRTUAL, TCP, src_port=port) for port in range(1, 41)]
        before = a.wire.pass_through(*sent)
        hand_over(a, b)
        assert b.wire.pass_through(*sent) == before
        [answer] = b.wire.pass_through(Datagram(before[0].dst, INSIDE, TCP, 2000, 1))
        assert answer.src == VIRTUAL
        backends = b.ask("counters")["backends"]
        assert isinstance(backends, list)
        assert sum(backend["packets"] for backend in backends) == 80

    def test_a_tracking_firewall_lets_answers_through_after_the_move(self, rig: Start) -> None:
        a, b = pair(rig, *FIREWALL)
        answer = Datagram(OUTSIDE, INSIDE, src_port=2000, dst_port=1000)
        a.wire.pass_through(Datagram(INSIDE, OUTSIDE))
        hand_over(a, b)
        assert b.wire.pass_through(answer, replace(answer, dst_port=1001)) == [answer]

    @pytest.mark.parametrize("lines", [NAT, MONITOR, BALANCER, FIREWALL], ids=lambda lines: lines[0].split()[1])
    def test_counters_of_flows_and_of_the_function_go_on(self, rig: Start, lines: tuple[str, ...]) -> None:
        a, b = pair(rig, *lines)
        sent = [Datagram(INSIDE, VIRTUAL, src_port=port) for port in (1, 2, 3)]
        a.wire.pass_through(*sent, sent[0], Datagram("172.16.0.1", EXTERNAL, dst_port=99), replace(sent[0], fragment=1))
        before = a.ask("counters")
        hand_over(a, b)
        after = b.ask("counters")
        assert flows(a) == flows(b)
        assert flows(b)
        own = set(before) - {"flows"} - {key for key in before if key.endswith(("_packets", "_bytes")) and key in _PORT}
        assert {key: after[key] for key in own} == {key: before[key] for key in own}

    def test_ages_survive(self, rig: Start) -> None:
        a, b = pair(rig, *MONITOR)
        a.wire.pass_through(Datagram(INSIDE, OUTSIDE))
        time.sleep(0.4)
        hand_over(a, b)
        flow = dict[str, Any](b.ask("counters"))["flows"][0]
        assert 400 <= flow["last_ms_ago"] <= flow["first_ms_ago"] < 2000

    def test_an_entry_still_ends_when_it_would_have_ended(self, rig: Start) -> None:
        a, b = pair(rig, *NAT, "timeout_s 1")
        a.wire.pass_through(Datagram(INSIDE, OUTSIDE))
        time.sleep(0.7)
        hand_over(a, b)
        time.sleep(0.5)
        assert b.wire.pass_through(Datagram(OUTSIDE, EXTERNAL, dst_port=1000)) == []

    def test_the_order_of_use_survives_and_so_do_removals(self, rig: Start) -> None:
        """A table of four: what is evicted next at the heir is what would have been at the owner."""
        a, b = pair(rig, *MONITOR, "entries 4")
        sent = [Datagram(INSIDE, OUTSIDE, src_port=port) for port in range(1, 10)]
        a.wire.pass_through(*sent[:4])
        copy_state(end(a), end(b))
        a.wire.pass_through(sent[4], sent[2], sent[1])  # 1 is evicted; from old to new: 4 5 3 2
        take_over(end(a), end(b))
        b.wire.pass_through(sent[5], sent[6])  # evicts 4 and 5
        shown = b.ask("counters")["flows"]
        assert isinstance(shown, list)
        assert sorted(f["flow"]["src_port"] for f in shown) == [2, 3, 6, 7]
        assert b.ask("counters")["evicted_flows"] == 3

    def test_a_port_given_up_and_given_again_is_the_new_flows(self, rig: Start) -> None:
        a, b = pair(rig, *NAT, "timeout_s 1")
        a.wire.pass_through(Datagram("10.0.0.1", OUTSIDE))
        copy_state(end(a), end(b))
        time.sleep(1.1)
        [out] = a.wire.pass_through(Datagram("10.0.0.2", OUTSIDE))  # ends the first one's mapping, takes its port
        take_over(end(a), end(b))
        [back] = b.wire.pass_through(Datagram(OUTSIDE, EXTERNAL, dst_port=out.src_port))
        assert (back.dst, out.src_port) == ("10.0.0.2", 1000)


_PORT = {
    "rx_packets", "rx_bytes", "tx_packets", "tx_bytes", "dropped_packets", "dropped_bytes", "malformed_packets",
    "unsent_packets", "kernel_dropped_packets", "standby_packets",
}  # fmt: skip


class TestPackets:
    def test_a_standby_forwards_nothing(self, rig: Start) -> None:
        _, b = pair(rig, *NAT)
        b.wire.send(build(Datagram(INSIDE, OUTSIDE)))
        assert b.wire.receive(1, timeout_s=0.2) == []
        assert b.ask("counters")["standby_packets"] == 1
        health = b.ask("health")
        assert (health["active"], health["standby"], health["interface_up"]) == (False, True, True)

    def test_what_arrives_at_the_former_owner_leaves_once_at_the_new_one(self, rig: Start) -> None:
        a, b = pair(rig, *NAT)
        hand_over(a, b)
        sent = [Datagram(INSIDE, OUTSIDE, src_port=port) for port in range(1, 101)]
        for datagram in sent:
            a.wire.send(build(datagram))
        assert [parse(f) for f in b.wire.receive(101, timeout_s=0.5)] == [replace(d, src=EXTERNAL) for d in sent]
        assert a.wire.receive(1, timeout_s=0.1) == []
        assert status(a)["tunnelled_packets"] == status(b)["tunnelled_packets"] == 100

    def test_none_is_lost_or_doubled_while_it_goes_back_and_forth(self, rig: Start) -> None:
        """Every packet goes to the first instance, whoever serves; take-overs go on as long as packets come."""
        a, b = pair(rig, *MONITOR)
        copy_state(end(a), end(b))
        with ThreadPoolExecutor(3) as pool:
            heard = [pool.submit(listen, one) for one in (a, b)]
            sending = pool.submit(send_flows, a, 4000)
            turns = 0
            while not sending.done():
                take_over(*((end(a), end(b)) if turns % 2 == 0 else (end(b), end(a))))
                turns += 1
            seen = sorted(port for one in heard for port in one.result())
        assert seen == list(range(1, 4001))
        assert turns > 10
        assert [one.ask("counters")["entries"] for one in (a, b)] == [4000, 4000]
        tunnelled = {status(one)["tunnelled_packets"] for one in (a, b)}
        assert 100 < min(tunnelled) < 4000


def send_flows(rig: Rig, count: int) -> None:
    for port in range(1, count + 1):
        rig.wire.send(build(Datagram(INSIDE, OUTSIDE, src_port=port)))
        time.sleep(0.0002)


def listen(rig: Rig) -> list[int]:
    """Source ports of what comes out, until nothing has come for a second."""
    ports: list[int] = []
    while frames := rig.wire.receive(1, timeout_s=1.0):
        ports.append(parse(frames[0]).src_port)
    return ports


class TestWhoServes:
    def test_asked_again_it_is_done_already(self, rig: Start) -> None:
        a, b = pair(rig, *NAT)
        hand_over(a, b)
        assert take_over(end(a), end(b)) == take_over(end(a), end(b))
        copy_state(end(a), end(b))
        assert (is_standby(end(a)), is_standby(end(b))) == (True, False)

    def test_without_a_copy_nothing_changes(self, rig: Start) -> None:
        a, b = pair(rig, *NAT)
        with pytest.raises(ContainerError, match="has no copy of the state"):
            take_over(end(a), end(b))
        assert (is_standby(end(a)), is_standby(end(b))) == (False, True)

    def test_heir_killed_after_the_copy_leaves_the_owner_serving(self, rig: Start) -> None:
        a, b = pair(rig, *NAT)
        copy_state(end(a), end(b))
        kill(b)
        with pytest.raises(ContainerError, match=r"vnf-1: is gone, vnf-0 serves"):
            take_over(end(a), end(b))
        assert a.wire.pass_through(Datagram(INSIDE, OUTSIDE))
        assert status(a)["error"] == "peer_gone"

    def test_heir_killed_during_the_freeze_gives_back_and_loses_nothing(self, rig: Start, resumed: list[Rig]) -> None:
        """The heir sleeps, so the owner's freeze lasts as long as it may; then it dies."""
        a, b = pair(rig, *NAT)
        copy_state(end(a), end(b))
        pause(b)
        with pytest.raises(ContainerError, match="timeout: no answer of the heir within 50 ms"):
            a.ask("handover take")
        assert len(a.wire.pass_through(Datagram(INSIDE, OUTSIDE))) == 1
        kill(b)
        assert not is_standby(end(a))

    def test_a_freeze_in_vain_can_be_tried_again(self, rig: Start) -> None:
        a, b = pair(rig, *NAT)
        copy_state(end(a), end(b))
        pause(b)
        with pytest.raises(ContainerError, match="timeout"):
            a.ask("handover take")
        a.wire.pass_through(Datagram(INSIDE, OUTSIDE, src_port=77))
        os.kill(b.instance.pid, signal.SIGCONT)
        take_over(end(a), end(b))
        assert len(b.wire.pass_through(Datagram(OUTSIDE, EXTERNAL, dst_port=77))) == 1
        assert is_standby(end(a))

    def test_heir_killed_after_the_take_over_the_former_owner_goes_on(self, rig: Start) -> None:
        a, b = pair(rig, *NAT)
        [out] = a.wire.pass_through(Datagram(INSIDE, OUTSIDE))
        hand_over(a, b)
        kill(b)
        take_over(end(b), end(a))  # the undo
        assert a.wire.pass_through(Datagram(INSIDE, OUTSIDE)) == [out]

    def test_heir_killed_after_the_take_over_forward(self, rig: Start) -> None:
        a, b = pair(rig, *NAT)
        hand_over(a, b)
        kill(b)
        with pytest.raises(ContainerError, match="is gone, vnf-0 serves"):
            take_over(end(a), end(b))
        assert not is_standby(end(a))

    def test_owner_killed_the_heir_goes_on_with_the_copy(self, rig: Start) -> None:
        a, b = pair(rig, *NAT)
        out = a.wire.pass_through(Datagram("10.0.0.1", OUTSIDE), Datagram("10.0.0.2", OUTSIDE))
        copy_state(end(a), end(b))
        kill(a)
        take_over(end(a), end(b))
        assert b.wire.pass_through(Datagram("10.0.0.2", OUTSIDE)) == out[1:]

    def test_owner_killed_before_anything_was_copied(self, rig: Start) -> None:
        a, b = pair(rig, *NAT)
        kill(a)
        with pytest.raises(ContainerError, match="no whole copy"):
            take_over(end(a), end(b))
        assert is_standby(end(b))

    def test_nobody_activates_itself_while_its_peer_is_there(self, rig: Start) -> None:
        a, b = pair(rig, *NAT)
        copy_state(end(a), end(b))
        with pytest.raises(ContainerError, match="the peer is there"):
            b.ask("activate")
        a.ask("activate")  # serves already

    def test_an_heir_without_a_network_is_no_heir(self, rig: Start) -> None:
        a, b = pair(rig, *NAT)
        copy_state(end(a), end(b))
        b.wire.close()
        os.system("ip link set w1 down")
        assert wait_until(lambda: b.ask("health")["interface_up"] is False)
        with pytest.raises(ContainerError, match="not_ready"):
            a.ask("handover take")
        assert a.wire.pass_through(Datagram(INSIDE, OUTSIDE))


class TestRefusals:
    def refused(self, source: Rig, target: Rig) -> str:
        with pytest.raises(ContainerError) as told:
            copy_state(end(source), end(target))
        assert not is_standby(end(source))
        assert status(source)["session"] == ""
        return str(told.value)

    def test_another_function(self, rig: Start) -> None:
        a, b = rig(*NAT), rig(*MONITOR, standby=True)
        assert "wrong_function: mine is nat, the peer's monitor" in self.refused(a, b)

    @pytest.mark.parametrize("other", ["external 10.9.0.2", "entries 5"])
    def test_another_configuration(self, rig: Start, other: str) -> None:
        a, b = rig(*NAT), rig(*NAT, other, standby=True)
        assert "wrong_configuration: mine has external=0a090001" in self.refused(a, b)

    def test_other_rules_or_backends(self, rig: Start) -> None:
        assert "wrong_configuration" in self.refused(rig(*BALANCER), rig(*BALANCER[:-1], standby=True))
        other = tuple(line.replace("udp", "tcp") for line in FIREWALL)
        assert "wrong_configuration" in self.refused(rig(*FIREWALL), rig(*other, standby=True))

    def test_two_that_serve(self, rig: Start) -> None:
        assert "wrong_role: both forward" in self.refused(rig(*NAT), rig(*NAT))

    def test_one_without_state(self, rig: Start) -> None:
        a, b = pair(rig, "function firewall")
        assert not can_hand_over(end(a))
        with pytest.raises(ContainerError, match="firewall keeps no state"):
            connect(end(a), end(b))
        assert can_hand_over(end(rig(*FIREWALL)))

    def test_take_without_a_session_and_join_without_a_stream(self, rig: Start) -> None:
        a = rig(*NAT)
        with pytest.raises(ContainerError, match="no_session"):
            a.ask("handover take")
        with pytest.raises(ContainerError, match="no unix stream socket came"):
            a.ask("handover join s " + "00" * 32)
        with pytest.raises(ContainerError, match="handover join SESSION SECRET"):
            a.ask("handover join")

    def test_a_configuration_stays_during_a_session(self, rig: Start) -> None:
        a, b = pair(rig, *NAT)
        copy_state(end(a), end(b))
        with pytest.raises(ContainerError, match="a hand-over is under way"):
            a.ask("configure")
        a.ask("handover leave")
        assert wait_until(lambda: status(b)["session"] == "")
        assert status(b)["error"].startswith("left")
        a.ask("configure")


def test_containers_and_processes_hand_over(bench: Bench) -> None:
    """What the system-call list of containers has to let through."""
    specs = [bench.spec(name, *NAT) for name in ("nat-1", "nat-2")]
    with own_network():
        started = [
            bench.engine.start(replace(spec, standby=standby))
            for spec, standby in zip(specs, (False, True), strict=True)
        ]
        wires = [wire_up(instance.pid, f"w{n}") for n, instance in enumerate(started)]
        for instance in started:
            bench.engine.wait_ready(instance, timeout_s=10)
        ends = [End(bench.engine, instance) for instance in started]
        before = wires[0].pass_through(*[Datagram(f"10.0.0.{n}", OUTSIDE) for n in range(1, 9)])
        assert copy_state(*ends).entries >= 8
        assert take_over(*ends).freeze_us > 0
        assert wires[1].pass_through(*[Datagram(f"10.0.0.{n}", OUTSIDE) for n in range(1, 9)]) == before
        wires[0].send(build(Datagram("10.0.0.1", OUTSIDE)))
        assert parse(wires[1].receive(1)[0]) == before[0]
        bench.engine.stop(started[1].id, timeout_s=2)
        take_over(ends[1], ends[0])
        assert wires[0].pass_through(Datagram("10.0.0.8", OUTSIDE)) == before[7:]
        for wire in wires:
            wire.close()
