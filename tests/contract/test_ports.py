"""Switch ports against a real Open vSwitch and real instances of both engines."""

from __future__ import annotations

import os
import signal
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from controller.containers import ContainerError, Instance
from controller.ports import SPARES, OvsPorts, mac_address
from tests.contract.conftest import Bench, Switch, command, make_server
from tests.contract.frames import Datagram, Wire, build, wait_until
from twin.scenario import Server

pytestmark = pytest.mark.root
RUN = "ports"


@pytest.fixture
def server(switch: Switch) -> Server:
    return replace(make_server("e1"), bridge=switch.bridge, ovsdb=switch.ovsdb)


def inside(instance: Instance, *words: str) -> str:
    return command("nsenter", "-t", str(instance.pid), "-n", *words)


def names() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def test_attached_port_carries_the_very_first_packet(bench: Bench, switch: Switch, server: Server) -> None:
    instance = bench.engine.start(bench.spec("fw-1"))
    ports = OvsPorts(RUN)
    number = ports.attach(instance, server)
    bench.engine.wait_ready(instance, timeout_s=5)
    assert deliver(switch, server, number)


def test_interface_is_quiet_named_and_whole(bench: Bench, switch: Switch, server: Server) -> None:
    instance = bench.engine.start(bench.spec("fw-1"))
    ports = OvsPorts(RUN)
    ports.attach(instance, server)
    shown = inside(instance, "ip", "-o", "addr", "show", "eth0") + inside(instance, "ip", "-o", "link", "show", "eth0")
    assert mac_address(RUN, "fw-1") in shown
    assert "inet" not in shown
    features = inside(instance, "ethtool", "-k", "eth0")
    assert "tx-checksumming: off" in features
    assert "rx-checksumming: off" in features
    name = ports.port_name(instance, server)
    assert len(name) == 15
    ids = command("ovs-vsctl", f"--db={server.ovsdb}", "get", "Port", name, "external_ids")
    assert "fw-1" in ids
    assert RUN in ids


def test_restarted_controller_finds_the_ports(bench: Bench, server: Server) -> None:
    started = [bench.engine.start(bench.spec(name)) for name in ("fw-1", "fw-2")]
    numbers = {i.name: OvsPorts(RUN).attach(i, server) for i in started}
    assert len(set(numbers.values())) == 2
    assert OvsPorts(RUN).attached(server) == numbers
    assert OvsPorts(RUN).attach(started[0], server) == numbers["fw-1"]  # again: the same port
    assert OvsPorts("another").attached(server) == {}


def start_and_attach(bench: Bench, server: Server, ports: OvsPorts, name: str) -> tuple[Instance, int]:
    instance = bench.engine.start(bench.spec(name))
    number = ports.attach(instance, server)
    bench.engine.wait_ready(instance, timeout_s=5)
    return instance, number


def test_next_instance_gets_the_same_port_as_its_own(bench: Bench, switch: Switch, server: Server) -> None:
    ports = OvsPorts(RUN, quarantine_s=0.0)
    first, number = start_and_attach(bench, server, ports, "fw-1")
    before = switch.ports()
    ports.detach(first, server)
    assert ports.attached(server) == {}
    assert ports.spares(server) == before == switch.ports()
    assert not interface_is_up(before[0])  # packets for it end at the switch
    assert "eth0" not in Path(f"/proc/{first.pid}/net/dev").read_text()
    second, again = start_and_attach(bench, server, ports, "fw-2")
    assert again == number
    assert ports.attached(server) == {"fw-2": number}
    assert ports.spares(server) == []
    shown = inside(second, "ip", "-o", "addr", "show", "eth0") + inside(second, "ip", "-o", "link", "show", "eth0")
    assert mac_address(RUN, "fw-2") in shown
    assert "inet" not in shown
    assert "tx-checksumming: off" in inside(second, "ethtool", "-k", "eth0")
    assert deliver(switch, server, number)


def interface_is_up(name: str) -> bool:
    return "LOWER_UP" in command("ip", "-o", "link", "show", name)


def deliver(switch: Switch, server: Server, number: int) -> bool:
    """Does the very first packet pass the VNF at a port, there and back?"""
    command("ip", "link", "add", "host", "type", "veth", "peer", "name", "tap")
    for name in ("host", "tap"):
        command("ip", "link", "set", name, "up")
    command("ovs-vsctl", f"--db={server.ovsdb}", "add-port", "br0", "tap", "--", "set", "Interface", "tap",
            "ofport_request=77")  # fmt: skip
    switch.openflow("add-flow", f"in_port=77,actions=output:{number}")
    switch.openflow("add-flow", f"in_port={number},actions=output:77")
    wire, frame = Wire("host"), build(Datagram("10.0.0.1", "10.8.0.2"))
    wire.send(frame)
    received = wire.receive(1)
    wire.close()
    return received == [frame]


def test_a_returned_port_rests_until_old_rules_are_gone(bench: Bench, switch: Switch, server: Server) -> None:
    now_s = 100.0
    ports = OvsPorts(RUN, quarantine_s=2.0, clock=lambda: now_s)
    first, number = start_and_attach(bench, server, ports, "fw-1")
    ports.detach(first, server)
    now_s = 101.9
    _, other = start_and_attach(bench, server, ports, "fw-2")
    assert other != number
    now_s = 102.1
    _, again = start_and_attach(bench, server, ports, "fw-3")
    assert again == number
    assert len(switch.ports()) == 2


def test_pool_grows_on_demand_and_keeps_only_some(bench: Bench, switch: Switch, server: Server) -> None:
    ports = OvsPorts(RUN, quarantine_s=0.0)
    started = [start_and_attach(bench, server, ports, f"fw-{n}")[0] for n in range(SPARES + 2)]
    assert len(switch.ports()) == len(ports.attached(server)) == SPARES + 2
    for instance in started:
        ports.detach(instance, server)
    assert len(switch.ports()) == len(ports.spares(server)) == SPARES
    assert ports.attached(server) == {}


def end_of_its_controller(ports: OvsPorts) -> None:
    """What the kernel does when the process ends: its namespace goes, with all that is in it."""
    os.close(ports._parking._made.pop("descriptor"))


def test_restart_keeps_ports_that_are_held_and_removes_all_else(bench: Bench, switch: Switch, server: Server) -> None:
    ports = OvsPorts(RUN, quarantine_s=0.0)
    (idle, _), (living, held), (doomed, _) = (start_and_attach(bench, server, ports, f"fw-{n}") for n in range(3))
    broken, whole = ports.port_name(doomed, server), ports.port_name(living, server)
    ports.detach(idle, server)
    (parked,) = ports.spares(server)
    orphan = whole[:10] + "zzzzz"  # a pair made just before the controller was killed
    command("ip", "link", "add", orphan, "type", "veth", "peer", "name", "vp" + orphan[2:])
    command("ip", "link", "add", "vtsomeoneelse", "type", "veth", "peer", "name", "vpsomeoneelse")
    command("ip", "link", "del", broken)
    end_of_its_controller(ports)
    assert wait_until(lambda: parked not in names())

    restarted = OvsPorts(RUN, quarantine_s=0.0)
    assert restarted.attached(server) == {"fw-1": held}
    last, again = start_and_attach(bench, server, restarted, "fw-9")
    assert again != held
    assert switch.ports() == sorted([whole, restarted.port_name(last, server)])
    assert not {orphan, "vp" + orphan[2:]} & names()
    assert "vtsomeoneelse" in names()
    restarted.detach(replace(living, pid=0), server)  # what a restart does that finds the port and no instance
    assert restarted.attached(server) == {last.name: again}
    assert wait_until(lambda: whole not in names())


def test_controller_killed_between_claim_and_move_leaves_nothing(bench: Bench, switch: Switch, server: Server) -> None:
    """Claimed, but not moved into the instance's namespace yet: that is where the controller was killed."""
    ports = OvsPorts(RUN, quarantine_s=0.0)
    instance, _ = start_and_attach(bench, server, ports, "fw-1")
    name = ports.port_name(instance, server)
    ports.detach(instance, server)
    command("ovs-vsctl", f"--db={server.ovsdb}", "set", "Port", name, 'external_ids:"io.vnftwin.instance"="fw-2"')
    end_of_its_controller(ports)
    assert wait_until(lambda: name not in names())
    restarted = OvsPorts(RUN, quarantine_s=0.0)
    assert restarted.attached(server) == {}
    second, _ = start_and_attach(bench, server, restarted, "fw-2")
    assert switch.ports() == [restarted.port_name(second, server)]


def test_a_parked_port_is_nobodys(bench: Bench, server: Server) -> None:
    ports = OvsPorts(RUN)
    instance, _ = start_and_attach(bench, server, ports, "fw-1")
    name = ports.port_name(instance, server)
    ports.detach(instance, server)
    assert "fw-1" not in command("ovs-vsctl", f"--db={server.ovsdb}", "get", "Port", name, "external_ids")
    assert not {"vp" + name[2:]} & names()  # where the switch daemon is it would be seen to come and go


def test_a_spare_that_was_taken_away_is_not_used(bench: Bench, switch: Switch, server: Server) -> None:
    ports = OvsPorts(RUN, quarantine_s=0.0)
    started = [start_and_attach(bench, server, ports, f"fw-{n}")[0] for n in range(2)]
    for instance in started:
        ports.detach(instance, server)
    first, second = ports.spares(server)
    command("ovs-vsctl", f"--db={server.ovsdb}", "del-port", "br0", first)
    command("ip", "link", "del", second)
    _, number = start_and_attach(bench, server, ports, "fw-2")
    assert number > 0
    assert len(switch.ports()) == 1
    assert not {first, second} & names()


@pytest.mark.parametrize("lost", ["port", "pair", "instance"])
def test_detach_of_a_half_gone_attachment(bench: Bench, switch: Switch, server: Server, lost: str) -> None:
    instance = bench.engine.start(bench.spec("fw-1"))
    ports = OvsPorts(RUN)
    ports.attach(instance, server)
    port = ports.port_name(instance, server)
    if lost == "port":
        command("ovs-vsctl", f"--db={server.ovsdb}", "del-port", "br0", port)
    elif lost == "pair":
        command("ip", "link", "del", port)
    elif lost == "instance":
        os.kill(instance.pid, signal.SIGKILL)
        assert wait_until(lambda: not Path(f"/proc/{instance.pid}/ns/net").exists() or is_zombie(instance.pid))
    for _ in range(2):  # and twice is as good as once
        ports.detach(instance, server)
        assert switch.ports() == []
        assert wait_until(lambda: port not in names())


def is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_detach_takes_nothing_from_another_process_with_the_same_number(bench: Bench, server: Server) -> None:
    ports = OvsPorts(RUN)
    victim, number = start_and_attach(bench, server, ports, "fw-1")
    gone, _ = start_and_attach(bench, server, ports, "fw-2")
    ports.detach(replace(gone, pid=victim.pid), server)
    assert ports.attached(server) == {"fw-1": number}
    assert "eth0" in Path(f"/proc/{victim.pid}/net/dev").read_text()


def test_attach_after_the_veth_vanished(bench: Bench, switch: Switch, server: Server) -> None:
    instance = bench.engine.start(bench.spec("fw-1"))
    ports = OvsPorts(RUN)
    ports.attach(instance, server)
    command("ip", "link", "del", ports.port_name(instance, server))
    assert ports.attach(instance, server) > 0
    bench.engine.wait_ready(instance, timeout_s=5)
    assert switch.ports() == [ports.port_name(instance, server)]


def test_a_spare_survives_an_instance_that_cannot_take_it(bench: Bench, switch: Switch, server: Server) -> None:
    ports = OvsPorts(RUN, quarantine_s=0.0)
    first, number = start_and_attach(bench, server, ports, "fw-1")
    ports.detach(first, server)
    with pytest.raises(ContainerError, match="fw-2: port on br0: nsenter: "):
        ports.attach(replace(first, name="fw-2", pid=2**22 - 7), server)
    assert ports.attached(server) == {}
    assert start_and_attach(bench, server, ports, "fw-3")[1] == number
    assert len(switch.ports()) == 1


def test_failed_attach_is_undone(bench: Bench, switch: Switch, server: Server) -> None:
    instance = bench.engine.start(bench.spec("fw-1"))
    before = names()
    with pytest.raises(ContainerError, match=r"fw-1: port on nobridge: ovs-vsctl: .*nobridge"):
        OvsPorts(RUN).attach(instance, replace(server, bridge="nobridge"))
    assert names() == before
    assert "eth0" not in Path(f"/proc/{instance.pid}/net/dev").read_text()
    with pytest.raises(ContainerError, match="does not run"):
        OvsPorts(RUN).attach(replace(instance, pid=0), server)
    assert switch.ports() == []
