"""The OpenFlow seam against a real Open vSwitch (userspace datapath) in namespaces of its own.

Run as a program (`... bed DIR`, in fresh namespaces) this file is the test bed: three bridges in a line, veth pairs
as endpoints and VNFs, and a real Ryu app (`... app PORT`) that does what it is told over a socket. Everything ends
with the process namespace; what was found comes out as JSON, on which the tests assert.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from controller import openflow, openflow_replies
from controller.flow_rule import PORT_CONTROLLER, FlowRule, Match
from controller.plan import plan_change
from controller.plan_json import from_json, to_json
from controller.rules import base_rules, chain_rules, probe_actions
from controller.ryu_compat import (
    MAIN_DISPATCHER,
    OFP_VERSION,
    Manager,
    RyuApp,
    hub,
    ofp_event,
    patch,
    send,
    set_ev_cls,
)
from controller.steering import Adjacency, Attachment, ChainSteering, steer
from controller.steps import Barrier, DeleteRules, Drain, InstallEntries, InstallRules, Step, SwapEntry
from controller.tags import Cookie, Role
from twin.scenario import Flow

ROOT = Path(__file__).parents[2]
OFP_PORT, COMMAND_PORT = 6653, 6654
SWITCHES = ("a", "b", "c")
LINKS: Adjacency = {("a", "b"): 2, ("b", "a"): 1, ("b", "c"): 2, ("c", "b"): 1}
FLOW = Flow("10.0.0.1", "10.0.0.2", "udp", 5001)
USER, WEB = Attachment("a", 10), Attachment("a", 13)
VNFS = (Attachment("b", 11), Attachment("b", 12), Attachment("c", 11))  # two on one switch, `b` crossed twice
SPARE = Attachment("c", 12)  # where the first VNF moves
MOVES = 12
PAUSE_S = 0.002  # between packets
BAD_RULE = FlowRule("b", 1, 7, Match(in_port=1), (), 0, Cookie(Role.BASE).value)  # a goto may only lead onwards


def route(a: str, b: str) -> tuple[str, ...]:
    step = 1 if a <= b else -1
    return tuple(chr(c) for c in range(ord(a), ord(b) + step, step))


def steering(first: Attachment) -> ChainSteering:
    return steer(3, FLOW, (USER, first, *VNFS[1:], WEB), route)


# ---- the Ryu app, a process of its own


class ObedientApp(RyuApp):  # type: ignore[misc]
    """Sends what it is told to and gives back what the switches say."""

    OFP_VERSIONS = (OFP_VERSION,)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.datapaths: dict[str, Any] = {}
        self.replies: dict[int, list[Any]] = {}
        self.errors: list[openflow_replies.SwitchError] = []
        self.packets: list[openflow_replies.PacketIn] = []

    def start(self) -> None:
        super().start()
        hub.spawn(self._serve)

    @set_ev_cls(ofp_event.EventOFPStateChange, MAIN_DISPATCHER)
    def connected(self, event: Any) -> None:
        self.datapaths[SWITCHES[event.datapath.id - 1]] = event.datapath

    @set_ev_cls(
        [
            ofp_event.EventOFPBarrierReply,
            ofp_event.EventOFPFlowStatsReply,
            ofp_event.EventOFPPortStatsReply,
            ofp_event.EventOFPPortDescStatsReply,
            ofp_event.EventOFPTableFeaturesStatsReply,
        ],
        MAIN_DISPATCHER,
    )
    def replied(self, event: Any) -> None:
        self.replies.setdefault(event.msg.xid, []).append(event.msg)

    @set_ev_cls(ofp_event.EventOFPErrorMsg, MAIN_DISPATCHER)
    def refused(self, event: Any) -> None:
        self.errors.append(openflow_replies.switch_error(event.msg))

    @set_ev_cls(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)
    def caught(self, event: Any) -> None:
        self.packets.append(openflow_replies.packet_in(event.msg))

    def _serve(self) -> None:
        link = socket.create_connection(("127.0.0.1", COMMAND_PORT)).makefile("rw")
        for line in link:
            name, *args = json.loads(line)
            link.write(json.dumps(getattr(self, f"do_{name}")(*args)) + "\n")
            link.flush()

    def do_switches(self) -> list[str]:
        return sorted(self.datapaths)

    def do_run(self, steps: Any) -> None:
        for step in from_json(steps):  # type: ignore[attr-defined]
            self._run(step)

    def _run(self, step: Step) -> None:
        match step:
            case InstallRules(rules) | InstallEntries(rules):
                self._send((rule.switch, openflow.add_rule(rule)) for rule in rules)
            case SwapEntry(_, new):
                self._send([(new.switch, openflow.modify_rule(new))])
            case DeleteRules(rules):
                self._send((rule.switch, openflow.delete_rule(rule)) for rule in rules)
            case Barrier(switches):
                for switch in switches:
                    self._ask(switch, openflow.barrier_request())
            case Drain(wait_ms):
                hub.sleep(wait_ms / 1000)

    def _send(self, messages: Any) -> None:
        for switch, message in messages:
            send(self.datapaths[switch], [message])

    def _ask(self, switch: str, request: bytes) -> list[Any]:
        (xid,) = send(self.datapaths[switch], [request])
        for _ in range(2000):
            parts = self.replies.get(xid, [])
            if parts and not openflow_replies.more_follows(parts[-1] if hasattr(parts[-1], "flags") else _Last):
                return parts
            hub.sleep(0.001)
        raise TimeoutError(f"no answer from {switch}")

    def do_rules(self, switch: str) -> Any:
        parts = self._ask(switch, openflow.flow_stats_request())
        return to_json(tuple(c.rule for part in parts for c in openflow_replies.flow_counters(switch, part)))

    def do_packets_of(self, switch: str, cookie: int) -> int:
        parts = self._ask(switch, openflow.flow_stats_request())
        found = [c for part in parts for c in openflow_replies.flow_counters(switch, part) if c.rule.cookie == cookie]
        return sum(counters.packets for counters in found)

    def do_ports(self, switch: str) -> list[Any]:
        (counted,) = self._ask(switch, openflow.port_stats_request())
        (described,) = self._ask(switch, openflow.port_desc_request())
        up = {port.number: port.up for port in openflow_replies.ports(described)}
        return [[c.port, c.rx_packets, up[c.port]] for c in openflow_replies.port_counters(counted)]

    def do_tables(self, switch: str) -> int:
        parts = self._ask(switch, openflow.table_features_request())
        return sum(len(openflow_replies.table_features(part)) for part in parts)

    def do_refused(self, rule: Any) -> list[Any]:
        bad: Any = from_json(rule)
        xids = send(self.datapaths[bad.switch], [openflow.add_rule(bad), openflow.barrier_request()])
        while xids[1] not in self.replies:
            hub.sleep(0.001)
        return [xids[0], [[e.xid, str(e)] for e in self.errors]]

    def do_probe(self, switch: str, actions: Any, frame: str) -> list[Any]:
        self.packets.clear()
        todo: Any = from_json(actions)
        send(self.datapaths[switch], [openflow.packet_out(bytes.fromhex(frame), PORT_CONTROLLER, todo)])
        hub.sleep(0.3)
        return [[p.cookie, p.data.hex()] for p in self.packets]


class _Last:
    flags = 0


# ---- the test bed, in namespaces of its own


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


def start_switches(folder: Path) -> None:
    os.environ.update(OVS_RUNDIR=str(folder), OVS_DBDIR=str(folder), OVS_LOGDIR=str(folder))
    schema, database, unix = "/usr/share/openvswitch/vswitch.ovsschema", folder / "conf.db", folder / "db.sock"
    run("ovsdb-tool", "create", str(database), schema)
    common = ("--detach", "--no-chdir", "--log-file", "--pidfile")
    run("ovsdb-server", str(database), f"--remote=punix:{unix}", *common)
    run("ovs-vsctl", f"--db=unix:{unix}", "--no-wait", "init")
    run("ovs-vswitchd", f"unix:{unix}", *common)
    add: list[str] = []
    for number, switch in enumerate(SWITCHES, start=1):
        add += ["--", "add-br", switch, "--", "set", "bridge", switch, "datapath_type=netdev", "protocols=OpenFlow13"]
        add += ["fail_mode=secure", f"other-config:datapath-id={number:016x}"]
        add += ["--", "set-controller", switch, f"tcp:127.0.0.1:{OFP_PORT}"]
    for (a, b), port in LINKS.items():
        add += ["--", "add-port", a, f"{a}-{b}", "--", "set", "interface", f"{a}-{b}", "type=patch"]
        add += [f"options:peer={b}-{a}", f"ofport_request={port}"]
    for at in (USER, WEB, *VNFS, SPARE):
        name = f"{at.switch}{at.port}"
        run("ip", "link", "add", f"{name}s", "up", "type", "veth", "peer", "name", name)
        run("ip", "link", "set", name, "up")
        add += ["--", "add-port", at.switch, f"{name}s", "--", "set", "interface", f"{name}s"]
        add += [f"ofport_request={at.port}"]
    run("ovs-vsctl", f"--db=unix:{unix}", *add[1:])


class Tap:
    """The far end of a veth pair, seen by a raw socket that does not hear itself."""

    def __init__(self, at: Attachment) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # hears nothing of other interfaces first
        self._socket.setsockopt(263, 23, 1)  # SOL_PACKET, PACKET_IGNORE_OUTGOING
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._socket.bind((f"{at.switch}{at.port}", 3))

    def send(self, frame: bytes) -> None:
        self._socket.send(frame)

    def receive(self, seconds: float) -> bytes | None:
        self._socket.settimeout(seconds)
        try:
            return self._socket.recv(2048)
        except TimeoutError:
            return None

    def drain(self, seconds: float = 0.5) -> list[bytes]:
        frames = []
        while (frame := self.receive(seconds)) is not None:
            frames.append(frame)
        return frames


def frame(number: int, *, reply: bool = False, dscp: int = 0) -> bytes:
    """A UDP packet of the chain (or a reply) with a sequence number and room for the marks of eight VNFs."""
    payload = struct.pack("!I8x", number)
    ports = (FLOW.dst_port, 40000) if reply else (40000, FLOW.dst_port)
    udp = struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload
    ends = [socket.inet_aton(ip) for ip in ((FLOW.dst_ip, FLOW.src_ip) if reply else (FLOW.src_ip, FLOW.dst_ip))]
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, dscp << 2, 20 + len(udp), 0, 0, 64, 17, 0, *ends)
    total = sum(struct.unpack("!10H", ip))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    ip = ip[:10] + struct.pack("!H", checksum) + ip[12:]
    return bytes.fromhex("020000000002020000000001") + b"\x08\x00" + ip + udp


def serve_vnf(at: Attachment, mark: int) -> None:
    """A VNF: sends every packet back with its mark in the next free place of the payload."""
    tap = Tap(at)
    while True:
        data = tap.receive(60)
        if data is not None and len(data) >= 54:
            place = data.index(0, 46)
            tap.send(data[:place] + bytes([mark]) + data[place + 1 :])


def seen(data: bytes) -> list[Any]:
    """Sequence number, marks, and whether the frame is untagged."""
    return [struct.unpack_from("!I", data, 42)[0], [m for m in data[46:54] if m], data[12:14] == b"\x08\x00"]


class Bed:
    """Drives the app and the packets, and notes what is found."""

    def __init__(self, folder: Path) -> None:
        run("ip", "link", "set", "lo", "up")
        Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")
        Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
        start_switches(folder)
        listener = socket.create_server(("127.0.0.1", COMMAND_PORT))
        self.app = subprocess.Popen([sys.executable, "-m", __spec__.name, "app"], cwd=ROOT)
        self._link = listener.accept()[0].makefile("rw")
        self.user, self.web = Tap(USER), Tap(WEB)
        for mark, at in ((1, VNFS[0]), (2, VNFS[1]), (3, VNFS[2]), (1, SPARE)):
            threading.Thread(target=serve_vnf, args=(at, mark), daemon=True).start()
        self.now: ChainSteering | None = None

    def ask(self, *command: Any) -> Any:
        self._link.write(json.dumps(command) + "\n")
        self._link.flush()
        return json.loads(self._link.readline())

    def change(self, after: ChainSteering | None) -> None:
        plan = plan_change(self.now, after, LINKS)
        self.ask("run", to_json(plan.steps))
        self.now = plan.after

    def installed(self) -> set[FlowRule]:
        return {rule for switch in SWITCHES for rule in from_json(self.ask("rules", switch))}  # type: ignore[attr-defined]

    def desired(self) -> set[FlowRule]:
        rules = set(chain_rules(self.now, LINKS)) if self.now else set()
        for switch in SWITCHES:
            rules |= base_rules(switch, [port for (here, _), port in LINKS.items() if here == switch])
        return rules

    def explore(self) -> Mapping[str, Any]:
        while self.ask("switches") != list(SWITCHES):
            time.sleep(0.05)
        found: dict[str, Any] = {}
        self.ask("run", to_json((InstallRules(tuple(self.desired())), Barrier(SWITCHES))))
        self.change(steering(VNFS[0]))
        found["installed as desired"] = self.installed() == self.desired()
        found["dump"] = {s: run("ovs-ofctl", "-O", "OpenFlow13", "dump-flows", s) for s in SWITCHES}
        self._send_some(found)
        found["moves"] = self._move_under_traffic()
        found["installed after moves"] = self.installed() == self.desired()
        found["ports"], found["tables"] = self.ask("ports", "a"), self.ask("tables", "a")
        found["refused"] = self.ask("refused", to_json(BAD_RULE))
        self.change(None)
        found["installed at the end"] = self.installed() == self.desired()
        return found

    def _send_some(self, found: dict[str, Any]) -> None:
        for number in range(20):
            self.user.send(frame(number))
        found["forward"] = [seen(data) for data in self.web.drain()]
        self.web.send(frame(7, reply=True))
        found["reply"] = [seen(data) for data in self.user.drain()]
        assert self.now is not None
        probe = self.ask("probe", "a", to_json(probe_actions(self.now)), frame(99, dscp=62).hex())
        found["probe"] = [[cookie, *self._untagged(data)] for cookie, data in probe]
        self.user.send(frame(100, dscp=62))
        found["at web after probes"] = len(self.web.drain())
        found["ingress counter"] = self.ask("packets_of", "a", Cookie(Role.INGRESS, 3, 0).value)

    @staticmethod
    def _untagged(data: str) -> list[Any]:
        tag, plain = openflow_replies.untagged(bytes.fromhex(data))
        return [tag, seen(plain)[:2]]

    def _move_under_traffic(self) -> Mapping[str, Any]:
        stop, count = threading.Event(), 0

        def talk() -> None:
            nonlocal count
            while not stop.is_set():
                self.user.send(frame(count))
                count += 1
                time.sleep(PAUSE_S)

        heard: list[bytes] = []

        def listen() -> None:
            while (data := self.web.receive(2)) is not None:
                heard.append(data)

        threads = [threading.Thread(target=target) for target in (listen, talk)]
        for thread in threads:
            thread.start()
        for move in range(MOVES):
            self.change(steering(VNFS[0] if move % 2 else SPARE))
        stop.set()
        for thread in threads:
            thread.join()
        numbers = [seen(data)[0] for data in heard]
        marks = sorted({tuple(seen(data)[1]) for data in heard})
        return {"sent": count, "received": len(numbers), "distinct": len(set(numbers)), "marks": marks}


def main(role: str, *args: str) -> None:
    if role == "app":
        patch()
        Manager([__spec__.name], ofp_port=OFP_PORT).run()
    else:
        (Path(args[0]) / "found.json").write_text(json.dumps(Bed(Path(args[0])).explore()))


# ---- the tests


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    folder = tmp_path_factory.mktemp("ovs")
    bed: Sequence[str] = (sys.executable, "-W", "ignore", "-m", __name__, "bed", str(folder))
    with open(folder / "log", "w") as log:
        subprocess.run(
            ["unshare", "-n", "-m", "-p", "-f", "--kill-child", "--mount-proc", *bed],
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
        )
    if not (folder / "found.json").exists():
        pytest.fail((folder / "log").read_text()[-3000:])
    result: Mapping[str, Any] = json.loads((folder / "found.json").read_text())
    return result


pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


def test_rules_read_back_are_those_that_were_built(found: Mapping[str, Any]) -> None:
    assert found["installed as desired"]
    assert found["installed after moves"]
    assert found["installed at the end"]


def test_the_switch_itself_shows_the_rules(found: Mapping[str, Any]) -> None:
    dump = found["dump"]["a"]
    tag = 3 << 5
    assert "push_vlan:0x8100" in dump
    assert f"dl_vlan={tag} actions=output:2" in dump
    assert f"dl_vlan={tag | 3 << 1},nw_tos=248 actions=CONTROLLER:65535" in dump.replace(",ip", "").replace("ip,", "")
    assert "pop_vlan,output:13" in dump
    assert "in_port=10,vlan_tci=0x0000/0x1fff,nw_src=10.0.0.1,nw_dst=10.0.0.2,tp_dst=5001" in dump
    assert all("cookie=0x564e" in line for line in dump.splitlines() if "cookie" in line)


def test_packets_visit_all_vnfs_in_order_and_replies_none(found: Mapping[str, Any]) -> None:
    assert found["forward"] == [[number, [1, 2, 3], True] for number in range(20)]
    assert found["reply"] == [[7, [], True]]


def test_a_probe_passes_the_chain_and_ends_at_the_controller(found: Mapping[str, Any]) -> None:
    cookie = Cookie(Role.PROBE, 3, 3, 0).value
    assert found["probe"] == [[cookie, 3 << 5 | 3 << 1, [99, [1, 2, 3]]]]
    assert found["at web after probes"] == 0
    assert found["ingress counter"] == 20  # the forged probe was not counted in


def test_moves_lose_and_repeat_nothing(found: Mapping[str, Any]) -> None:
    moves = found["moves"]
    print("moves:", moves)
    assert moves["sent"] > MOVES * 50
    assert moves["received"] == moves["distinct"] == moves["sent"]
    assert moves["marks"] == [[1, 2, 3]]


def test_ports_and_tables_are_read(found: Mapping[str, Any]) -> None:
    ports = {port: (packets, up) for port, packets, up in found["ports"]}
    assert set(ports) == {2, 10, 13}
    assert all(up for _, up in ports.values())
    assert ports[10][0] >= 20
    assert found["tables"] > 1


def test_a_refusal_names_the_message_refused(found: Mapping[str, Any]) -> None:
    xid, errors = found["refused"]
    assert errors == [[xid, f"BAD_INSTRUCTION code 2 (message {xid})"]]


def test_nothing_is_left_behind(found: Mapping[str, Any]) -> None:
    assert found
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    assert not [at for at in (USER, WEB, *VNFS, SPARE) if f" {at.switch}{at.port}s" in links]


if __name__ == "__main__":
    main(*sys.argv[1:])
