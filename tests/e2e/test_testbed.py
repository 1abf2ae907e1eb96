"""The whole test bed on real Open vSwitch, without a controller: static rules, real packets, real faults."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mininet_topos.edgecore import plan_ports
from mininet_topos.engine import engine_available
from mininet_topos.run_state import RunState
from twin.scenario import Scenario
from twin.scenario_file import load_scenario

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

SCENARIO = load_scenario("small")
PORTS = plan_ports(SCENARIO)
# Per chain the switches on the way, without VNFs.
PATHS = {
    "web1": ["edge1", "core1", "core2"],
    "web2": ["edge2", "core2"],
    "video": ["core1", "core3", "edge3"],
    "voice": ["edge1", "core1", "core3", "edge3"],
}
QUIET = dict.fromkeys(PATHS, 0.0)  # rates_pps under which no chain sends


class Bed:
    """A test bed as its user starts it: a process, commands in, events out."""

    def __init__(self, run_dir: Path, *, engine: str = "none", wrapped: bool = False) -> None:
        command = [sys.executable, "-m", "mininet_topos", "testbed", "small", "--run-dir", str(run_dir)]
        command += ["--engine", engine]
        if wrapped:  # a parent of its own, to be killed; it hands its pipes on
            command = [sys.executable, "-c", "import subprocess, sys; subprocess.call(sys.argv[1:])", *command]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        self.events: queue.Queue[dict[str, Any]] = queue.Queue()
        self.seen: list[dict[str, Any]] = []
        threading.Thread(target=self._read, daemon=True).start()
        self.ready: dict[str, Any] = {}

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.events.put(json.loads(line))
        self.events.put({"event": "end"})

    def wait_for(self, name: str, timeout_s: float = 30.0) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        while True:
            event = self.events.get(timeout=max(0.01, deadline - time.monotonic()))
            self.seen.append(event)
            if event["event"] == name:
                return event
            assert event["event"] != "end", self.process.stderr.read() if self.process.stderr else ""

    def start(self) -> Bed:
        self.ready = self.wait_for("ready")
        return self

    def send(self, op: str, **arguments: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"op": op, **arguments}) + "\n")
        self.process.stdin.flush()

    def popen(self, *command: str) -> subprocess.Popen[str]:
        """Starts a command in the sandbox as a controller would be; its messages come with its output."""
        pid, rundir = str(self.ready["pid"]), self.ready["ovs_rundir"]
        return subprocess.Popen(
            ["nsenter", "-t", pid, "-n", "-m", "-p", "env", f"OVS_RUNDIR={rundir}", *command],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def inside(self, *command: str) -> str:
        """Runs a command there to its end."""
        process = self.popen(*command)
        said = process.communicate(timeout=20)[0]
        assert process.returncode == 0, said
        return said

    def ofctl(self, verb: str, *arguments: str) -> str:
        return self.inside("ovs-ofctl", "-O", "OpenFlow13", verb, *arguments)

    def traffic(self, seconds: float, rates_pps: Mapping[str, float], during: Callable[[], None] | None = None) -> Any:
        """Traffic for some seconds; the ledger's chains. `during` runs once it flows."""
        self.send("traffic_start", seed=1, rates_pps=rates_pps)
        began = time.monotonic()
        if during is not None:
            during()
        time.sleep(max(0.0, seconds - (time.monotonic() - began)))
        self.send("traffic_stop")
        return self.wait_for("ledger")["chains"]

    def stop(self) -> int:
        if self.process.poll() is None:
            assert self.process.stdin is not None
            self.process.stdin.close()
        return self.process.wait(timeout=30)

    def destroy(self) -> None:
        try:
            self.stop()
        except (subprocess.TimeoutExpired, OSError):
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def link_port(scenario: Scenario, switch: str, to: str) -> int:
    for link, (port_a, port_b) in zip(scenario.links, PORTS.links, strict=True):
        if (link.a, link.b) == (switch, to):
            return port_a
        if (link.b, link.a) == (switch, to):
            return port_b
    raise KeyError((switch, to))


def rules(chain_id: str, path: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(switch, rule) that lead a chain along a path, the egress endpoint's port at its end."""
    chain = SCENARIO.chain(chain_id)
    for here, after in zip(path, [*path[1:], ""], strict=True):
        port = link_port(SCENARIO, here, after) if after else PORTS.endpoints[chain.egress][0].port
        yield here, f"priority=100,udp,tp_dst={chain.flow.dst_port},actions=output:{port}"


def lead_chains(bed: Bed) -> None:
    for chain, path in PATHS.items():
        for switch, rule in rules(chain, path):
            bed.ofctl("add-flow", switch, rule)


def packets(bed: Bed, switch: str, cookie: str) -> int:
    """Packets that the rules with a cookie have matched."""
    return sum(int(n) for n in re.findall(r"n_packets=(\d+)", bed.ofctl("dump-flows", switch, f"cookie={cookie}/-1")))


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    bed = Bed(tmp_path_factory.mktemp("bed"))
    try:
        bed.start()
        lead_chains(bed)
        yield bed
    finally:
        bed.destroy()


def test_switches_are_the_scenarios(bed: Bed) -> None:
    for switch in SCENARIO.switches:
        shown = bed.ofctl("show", switch.id)
        assert f"dpid:{switch.dpid:016x}" in shown
        assert len(re.findall(r"^ \d+\(", shown, re.MULTILINE)) == ports_expected(switch.id)
        assert bed.inside("ovs-vsctl", "get", "bridge", switch.id, "fail_mode", "protocols").split() == [
            "secure", "[OpenFlow13]",
        ]  # fmt: skip
        assert bed.inside("ovs-vsctl", "get-controller", switch.id).strip() == "tcp:127.0.0.1:6653"


def ports_expected(switch: str) -> int:
    links = sum(switch in (link.a, link.b) for link in SCENARIO.links)
    return links + sum(where.switch == switch for places in PORTS.endpoints.values() for where in places)


def test_bound_scenario_reads_back_with_what_a_controller_needs(bed: Bed) -> None:
    bound = load_scenario(bed.ready["scenario"])
    assert [s.id for s in bound.servers] == [s.id for s in SCENARIO.servers]
    assert all(server.bridge == server.at and server.ovsdb.startswith("unix:/") for server in bound.servers)
    assert all(endpoint.port == PORTS.endpoints[endpoint.id][0].port for endpoint in bound.endpoints)
    assert bound.chains == SCENARIO.chains


def test_no_packet_that_is_nobodys(bed: Bed) -> None:
    """Before any traffic no port has seen a packet: no IPv6, no ARP."""
    time.sleep(1.0)
    for switch in SCENARIO.switches:
        assert set(re.findall(r"[rt]x pkts=(\d+)", bed.ofctl("dump-ports", switch.id))) == {"0"}


@pytest.mark.slow
def test_every_packet_arrives_and_delay_is_the_paths(bed: Bed) -> None:
    chains = bed.traffic(6.0, {})
    for name, path in PATHS.items():
        nominal_ms = sum(link_delay_ms(a, b) for a, b in pairwise(path))
        account = chains[name]
        assert account["sent"] > 200
        assert (account["received"], account["lost"], account["duplicated"]) == (account["sent"], 0, 0)
        assert abs(account["delay_ms"]["p50"] - nominal_ms) <= 1.0 * (len(path) - 1), (name, nominal_ms, account)


def link_delay_ms(a: str, b: str) -> float:
    return next(link.delay_ms for link in SCENARIO.links if {link.a, link.b} == {a, b})


@pytest.mark.slow
@pytest.mark.parametrize("delay_ms", [1.0, 2.0, 5.0, 10.0, 20.0])
def test_one_link_delays_within_a_millisecond_through_real_switches(bed: Bed, delay_ms: float) -> None:
    bed.send("link_set", link="edge2-core2", delay_ms=delay_ms)
    bed.wait_for("done")
    account = bed.traffic(2.0, {**QUIET, "web2": 200})["web2"]
    bed.send("link_set", link="edge2-core2", delay_ms=2.0)
    bed.wait_for("done")
    print(f"\nlink {delay_ms:g} ms: p50 {account['delay_ms']['p50']:.3f} p95 {account['delay_ms']['p95']:.3f}")
    assert account["sent"] > 300
    assert account["delay_ms"]["p50"] == pytest.approx(delay_ms, abs=1.0)


def port_packets(bed: Bed, switch: str, port: int, way: str) -> int:
    """Packets counted by the kernel at a switch port: `rx` came in, `tx` went out.

    A rule's own counter is no reference: what passed just before a change is counted for the rule that comes after.
    """
    found = re.search(rf"{way} pkts=(\d+)", bed.ofctl("dump-ports", switch, str(port)))
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize("fault", ["lost", "duplicated"])
def test_ledger_shows_exactly_what_a_rule_drops_or_doubles(bed: Bed, fault: str) -> None:
    web1 = SCENARIO.chain("web1")
    out = link_port(SCENARIO, "core1", "core2")
    ingress = ("edge1", PORTS.endpoints["u1"][0].port, "rx")
    egress = ("core2", PORTS.endpoints["web"][0].port, "tx")
    action = "drop" if fault == "lost" else f"output:{out},output:{out}"

    def break_for_a_while() -> None:
        time.sleep(0.4)
        bed.ofctl("add-flow", "core1", f"cookie=200,priority=200,udp,tp_dst={web1.flow.dst_port},actions={action}")
        time.sleep(0.4)
        bed.ofctl("del-flows", "core1", "cookie=200/-1")

    came_in, went_out = port_packets(bed, *ingress), port_packets(bed, *egress)
    account = bed.traffic(1.5, {**QUIET, "web1": 500}, break_for_a_while)["web1"]
    came_in, went_out = port_packets(bed, *ingress) - came_in, port_packets(bed, *egress) - went_out
    assert account["sent"] == came_in
    assert account["received"] + account["duplicated"] == went_out
    assert account[fault] == abs(came_in - went_out) > 100
    assert account["lost" if fault == "duplicated" else "duplicated"] == 0
    assert (account["silence_ms"] > 300) == (fault == "lost")


@pytest.mark.slow
def test_random_loss_is_lost_once_and_only_on_its_link(bed: Bed) -> None:
    bed.send("link_set", link="edge2-core2", loss=0.2)
    bed.wait_for("done")
    chains = bed.traffic(3.0, {**QUIET, "web2": 400, "web1": 100})
    bed.send("link_set", link="edge2-core2", loss=0.0)
    bed.wait_for("done")
    assert chains["web1"]["lost"] == 0
    assert 0.12 < chains["web2"]["lost"] / chains["web2"]["sent"] < 0.28


def test_steady_rate_is_even_and_exact(bed: Bed) -> None:
    account = bed.traffic(2.0, {**QUIET, "web1": 1000})["web1"]
    assert account["sent"] == pytest.approx(2000, rel=0.06)
    assert account["lost"] == account["duplicated"] == account["reordered"] == account["send_errors"] == 0


def port_state(bed: Bed, switch: str, port: int) -> str:
    found = re.search(rf"^ {port}\(.*?state:\s+(\S+)", bed.ofctl("show", switch), re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def wait_for_state(bed: Bed, switch: str, port: int, state: str) -> None:
    """Until a switch says that of its port; fails after 5 s."""
    deadline = time.monotonic() + 5.0
    while port_state(bed, switch, port) != state:
        assert time.monotonic() < deadline, f"{switch} port {port} is not {state}"
        time.sleep(0.02)


def test_a_cut_link_is_seen_at_both_ends_and_heals(bed: Bed) -> None:
    ends = [("edge1", link_port(SCENARIO, "edge1", "core1")), ("core1", link_port(SCENARIO, "core1", "edge1"))]
    monitor = bed.popen("stdbuf", "-oL", "-eL", "ovs-ofctl", "-O", "OpenFlow13", "monitor", "edge1", "65535")
    try:
        time.sleep(0.3)
        for up in (False, True):
            bed.send("link", link="edge1-core1", up=up)
            bed.wait_for("done")
            for switch, port in ends:
                wait_for_state(bed, switch, port, "LIVE" if up else "LINK_DOWN")
    finally:
        bed.inside("sh", "-c", "for p in $(pgrep -x ovs-ofctl); do kill $p; done")  # nsenter waits for its child
        said = monitor.communicate(timeout=5)[0]
    assert said.count("PORT_STATUS") >= 2
    assert bed.traffic(1.0, {**QUIET, "web1": 200})["web1"]["lost"] == 0


def test_a_cut_link_loses_what_crosses_it(bed: Bed) -> None:
    def cut() -> None:
        time.sleep(0.5)
        bed.send("link", link="edge1-core1", up=False)
        time.sleep(0.5)
        bed.send("link", link="edge1-core1", up=True)

    account = bed.traffic(1.5, {**QUIET, "web1": 500}, cut)["web1"]
    assert 100 < account["lost"] < 450
    assert account["received"] == account["sent"] - account["lost"]


@pytest.mark.slow
def test_a_user_roams_without_loss(bed: Bed) -> None:
    """Announced at the new switch by ARP; sends at the old one for a while, then at the new; nothing is lost."""
    new = next(where for where in PORTS.endpoints["u1"] if where.switch == "edge2")
    port = SCENARIO.chain("web1").flow.dst_port
    bed.ofctl("add-flow", "edge2", f"cookie=7,priority=150,arp,in_port={new.port},actions=drop")
    onward = link_port(SCENARIO, "edge2", "core2")
    match = f"udp,tp_dst={port},in_port={new.port}"
    bed.ofctl("add-flow", "edge2", f"cookie=8,priority=150,{match},actions=output:{onward}")

    def roam() -> None:
        time.sleep(0.5)
        bed.send("roam", endpoint="u1", to="edge2")
        began = time.monotonic()
        roamed = bed.wait_for("roamed")
        assert time.monotonic() - began == pytest.approx(0.6, abs=0.25)
        assert (roamed["endpoint"], roamed["from"], roamed["to"], roamed["port"]) == ("u1", "edge1", "edge2", new.port)

    account = bed.traffic(2.5, {**QUIET, "web1": 500}, roam)["web1"]
    announced, moved = packets(bed, "edge2", "7"), packets(bed, "edge2", "8")
    bed.send("roam", endpoint="u1", to="edge1")
    assert bed.wait_for("roamed")["to"] == "edge1"
    assert announced == 4
    assert account["lost"] == account["duplicated"] == 0
    assert 400 < moved < account["sent"]


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ({"op": "link", "link": "edge1-core9", "up": False}, "unknown link"),
        ({"op": "dance"}, "unknown command"),
        ({"op": "roam", "endpoint": "u1", "to": "core1"}, "no interface at core1"),
        ({"op": "roam", "endpoint": "nobody", "to": "core1"}, "unknown endpoint"),
        ({"op": "traffic_start", "seed": 1, "rates_pps": {"nochain": 5}}, "unknown chain"),
        ({"op": "server", "server": "e1", "up": False}, "engine"),
        ({"op": "link_set", "link": "edge1-core1", "colour": "red"}, "colour"),
    ],
)
def test_a_wrong_command_is_an_error_event_and_changes_nothing(bed: Bed, command: dict[str, Any], word: str) -> None:
    bed.send(**command)
    assert word in bed.wait_for("error", timeout_s=5)["message"]


def test_a_second_test_bed_beside_the_first(bed: Bed, tmp_path: Path) -> None:
    other = Bed(tmp_path)
    try:
        other.start()
        assert other.ready["ovs_rundir"] != bed.ready["ovs_rundir"]
        assert "edge1" in other.inside("ovs-vsctl", "list-br")
        assert other.stop() == 0
    finally:
        other.destroy()
    assert bed.traffic(1.0, {**QUIET, "web2": 100})["web2"]["lost"] == 0


class Machine:
    """What of a test bed can be seen on the host; equal before and after, or something was left behind."""

    @staticmethod
    def picture(run_dir: Path) -> dict[str, object]:
        namespaces: set[str] = set()
        processes: list[str] = []
        for proc in Path("/proc").glob("[0-9]*"):
            try:
                command = (proc / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                namespace = os.readlink(proc / "ns/net")
            except OSError:
                continue
            if str(run_dir) in command and "pytest" not in command:
                processes.append(command)
                namespaces.add(namespace)
        return {
            "processes": processes,
            "interfaces": sorted(path.name for path in Path("/sys/class/net").iterdir()),
            "mounts": [line for line in Path("/proc/self/mounts").read_text().splitlines() if "vnftwin" in line],
        }

    @staticmethod
    def left_of(run_id: str) -> list[Path]:
        """Files, cgroups, and processes that name the run."""
        cgroups = [path for level in ("", "*/") for path in Path("/sys/fs/cgroup").glob(f"{level}vnftwin-{run_id}")]
        processes = []
        for command in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if f"/run/vnftwin/{run_id}/".encode() in command.read_bytes():
                    processes.append(command)
            except OSError:
                continue
        state = Path("/run/vnftwin") / run_id
        return [*cgroups, *processes, *([state] if state.exists() else [])]


def wait_until_nothing_left(run_id: str, timeout_s: float = 10.0) -> list[Path]:
    deadline = time.monotonic() + timeout_s
    while (left := Machine.left_of(run_id)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def kill_front(bed: Bed) -> None:
    os.kill(bed.process.pid, signal.SIGKILL)


def kill_init(bed: Bed) -> None:
    os.kill(bed.ready["pid"], signal.SIGKILL)


def ctrl_c(bed: Bed) -> None:
    os.killpg(bed.process.pid, signal.SIGINT)


def terminate(bed: Bed) -> None:
    os.kill(bed.process.pid, signal.SIGTERM)


def kill_group(bed: Bed) -> None:
    os.killpg(bed.process.pid, signal.SIGKILL)


ENGINE = "process" if engine_available() else "docker"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "engine", "wrapped"),
    [
        (kill_front, ENGINE, True),  # kill -9 of whoever started it
        (kill_front, ENGINE, False),
        (kill_init, "none", False),
        (kill_group, "process", False),
        (ctrl_c, ENGINE, False),
        (terminate, "none", False),
    ],
    ids=["kill parent", "kill front", "kill init", "kill group", "ctrl-c", "terminate"],
)
def test_however_it_ends_nothing_is_left(
    tmp_path: Path, end: Callable[[Bed], None], engine: str, wrapped: bool
) -> None:
    before = Machine.picture(tmp_path)
    bed = Bed(tmp_path, engine=engine, wrapped=wrapped)
    try:
        bed.start()
        bed.send("traffic_start", seed=1)
        bed.wait_for("traffic")
        assert Machine.left_of(bed.ready["run_id"])  # the check sees a bed that lives
        end(bed)
        bed.process.wait(timeout=20)
        assert wait_until_nothing_left(bed.ready["run_id"]) == []
        assert Machine.picture(tmp_path) == before
    finally:
        bed.destroy()


@pytest.mark.slow
def test_ctrl_c_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    before = Machine.picture(tmp_path)
    bed = Bed(tmp_path, engine="process")
    try:
        bed.wait_for("progress")
        time.sleep(0.3)
        ctrl_c(bed)
        bed.process.wait(timeout=20)
        time.sleep(0.2)
        assert Machine.picture(tmp_path) == before
    finally:
        bed.destroy()


def test_a_server_goes_down_and_comes_back(tmp_path: Path) -> None:
    bed = Bed(tmp_path, engine="process")
    try:
        bed.start()
        group = load_scenario(bed.ready["scenario"]).server("e1").cgroup
        tasks = next(p for p in Path("/sys/fs/cgroup").rglob("cgroup.procs") if p.parts[-3:-1] == Path(group).parts[1:])
        victim = bed.popen("sh", "-c", f"echo $$ > {tasks}; echo in; exec sleep 60")
        assert victim.stdout is not None
        assert victim.stdout.readline() == "in\n"
        bed.send("server", server="e1", up=False)
        bed.wait_for("done")
        assert victim.wait(timeout=5) in (-signal.SIGKILL, 128 + signal.SIGKILL)
        bed.send("server", server="e1", up=True)
        bed.wait_for("done")
        assert bed.stop() == 0
    finally:
        bed.destroy()


def test_a_dead_daemon_ends_the_bed_with_one_line(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    try:
        bed.start()
        pid = bed.inside("cat", f"{bed.ready['ovs_rundir']}/ovs-vswitchd.pid").strip()
        bed.inside("kill", "-KILL", pid)
        assert "ovs-vswitchd" in bed.wait_for("error", timeout_s=10)["message"]
        assert bed.process.wait(timeout=20) == 1
        assert bed.process.stderr is not None
        assert [line for line in bed.process.stderr.read().splitlines() if "Traceback" in line] == []
    finally:
        bed.destroy()


def run_once(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)


def test_without_root_one_clear_line(tmp_path: Path) -> None:
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    tmp_path.chmod(0o777)
    bed = [sys.executable, "-m", "mininet_topos", "testbed", "small", "--run-dir", "/tmp"]
    if run_once(*nobody, sys.executable, "-c", "import twin, yaml").returncode:
        pytest.skip("this checkout cannot be read by other users")
    done = run_once(*nobody, *bed)
    assert done.returncode == 1
    assert done.stderr.strip() == "vnftwin: an emulated network needs root (mend: run the same command with sudo)"


def test_unknown_scenario_exits_2_with_one_line(tmp_path: Path) -> None:
    done = run_once(sys.executable, "-m", "mininet_topos", "testbed", "smal", "--run-dir", str(tmp_path))
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_next_start_removes_what_a_dead_run_left_and_spares_the_living(bed: Bed) -> None:
    """Even the janitor may be killed: the lock tells a dead run from a living one."""
    dead, living = RunState.create(), Path(bed.ready["ovs_rundir"]).parent
    dead.release()  # as the end of its last process does
    RunState.create().remove()
    assert not dead.path.exists()
    assert living.exists()
    assert bed.ofctl("show", "core1")


@pytest.mark.slow
def test_what_it_costs(tmp_path: Path) -> None:
    """Prints start, stop and CPU (`-s` shows it); fails only when something is grossly wrong."""
    bed = Bed(tmp_path)
    began = time.monotonic()
    try:
        bed.start()
        start_s = time.monotonic() - began
        lead_chains(bed)
        idle = cpu_percent(bed, 3.0)
        bed.send("traffic_start", seed=1, rates_pps={**QUIET, "voice": 600})
        busy = cpu_percent(bed, 4.0)
        bed.send("traffic_stop")
        ledger = bed.wait_for("ledger")
        began = time.monotonic()
        assert bed.stop() == 0
        print(f"\nstart {start_s:.2f} s, stop {time.monotonic() - began:.2f} s; percent of a core: idle {idle},")
        print(f"600 packets/s over 3 links {busy}; machine idle {ledger['cpu_idle']:.2f}; {ledger['chains']['voice']}")
        assert ledger["chains"]["voice"]["lost"] == 0
        assert idle["delay_line"] < 10
        assert busy["delay_line"] < 40
    finally:
        bed.destroy()


def cpu_percent(bed: Bed, seconds: float) -> dict[str, float]:
    names = {"ovs-vswitchd": "vswitchd", "mininet_topos.delay_line": "delay_line", "mininet_topos.traffic": "traffic"}
    pids: dict[str, int] = {}
    for proc in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(proc / "ns/net") == os.readlink(f"/proc/{bed.ready['pid']}/ns/net"):
                command = (proc / "cmdline").read_bytes().decode().split("\0")
                pids |= {short: int(proc.name) for long, short in names.items() if long in command[:3]}
        except OSError:
            continue
    before = {name: ticks(pid) for name, pid in pids.items()}
    time.sleep(seconds)
    return {name: round((ticks(pid) - before[name]) / seconds, 1) for name, pid in pids.items()}


def ticks(pid: int) -> int:
    """CPU time in hundredths of a second."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
