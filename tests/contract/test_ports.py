"""Switch ports against a real Open vSwitch and real instances of both engines."""

from __future__ import annotations

import os
import signal
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from controller.containers import ContainerError, Instance
from controller.ports import OvsPorts, mac_address
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
    command("ip", "link", "add", "host", "type", "veth", "peer", "name", "tap")
    for name in ("host", "tap"):
        command("ip", "link", "set", name, "up")
    command("ovs-vsctl", f"--db={server.ovsdb}", "add-port", "br0", "tap", "--", "set", "Interface", "tap",
            "ofport_request=77")  # fmt: skip
    switch.openflow("add-flow", f"in_port=77,actions=output:{number}")
    switch.openflow("add-flow", f"in_port={number},actions=output:77")
    wire, frame = Wire("host"), build(Datagram("10.0.0.1", "10.8.0.2"))
    wire.send(frame)
    assert wire.receive(1) == [frame]
    wire.close()
    ports.detach(instance, server)
    assert switch.ports() == ["tap"]


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
    assert len(ports.port_name(instance)) == 15
    ids = command("ovs-vsctl", f"--db={server.ovsdb}", "get", "Interface", ports.port_name(instance), "external_ids")
    assert "fw-1" in ids
    assert RUN in ids


def test_restarted_controller_finds_the_ports(bench: Bench, server: Server) -> None:
    started = [bench.engine.start(bench.spec(name)) for name in ("fw-1", "fw-2")]
    numbers = {i.name: OvsPorts(RUN).attach(i, server) for i in started}
    assert len(set(numbers.values())) == 2
    assert OvsPorts(RUN).attached(server) == numbers
    assert OvsPorts(RUN).attach(started[0], server) == numbers["fw-1"]  # again: the same port
    assert OvsPorts("another").attached(server) == {}


@pytest.mark.parametrize("lost", ["port", "pair", "instance", "nothing"])
def test_detach_of_a_half_gone_attachment(bench: Bench, switch: Switch, server: Server, lost: str) -> None:
    instance = bench.engine.start(bench.spec("fw-1"))
    ports = OvsPorts(RUN)
    ports.attach(instance, server)
    port = ports.port_name(instance)
    if lost == "port":
        command("ovs-vsctl", f"--db={server.ovsdb}", "del-port", "br0", port)
    elif lost == "pair":
        command("ip", "link", "del", port)
    elif lost == "instance":
        os.kill(instance.pid, signal.SIGKILL)
    for _ in range(2):  # and twice is as good as once
        ports.detach(instance, server)
        assert switch.ports() == []
        assert wait_until(lambda: port not in names())


def test_attach_after_the_veth_vanished(bench: Bench, switch: Switch, server: Server) -> None:
    instance = bench.engine.start(bench.spec("fw-1"))
    ports = OvsPorts(RUN)
    ports.attach(instance, server)
    command("ip", "link", "del", ports.port_name(instance))
    assert ports.attach(instance, server) > 0
    bench.engine.wait_ready(instance, timeout_s=5)
    assert switch.ports() == [ports.port_name(instance)]


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
