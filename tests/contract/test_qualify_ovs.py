"""`vnftwin qualify` on real Open vSwitch bridges: sound ones, crippled ones, one that lies, one that never comes.

Run as a program (`... lab DIR`, in fresh namespaces) this file makes the bridges, with rules of another application on
each, runs the command, and gives what it found, and each switch's rules before and after as its own tool tells them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.field import run
from tests.fakes.lying_switch import LyingWire

ROOT = Path(__file__).parents[2]
PORT = 6653
BEHIND_S = 0.3
SWITCHES = ("sound", "small", "lying", "silent", "old")
FLOW_LIMIT = 130
THEIRS = ("table=0,priority=7,cookie=0x77,actions=NORMAL", "table=1,priority=9,dl_vlan=4066,cookie=0x78,actions=drop")

SCENARIO = f"""\
schema: 1
name: lab
period_s: 5
switches: [{", ".join(f"{{id: {name}, dpid: {number}}}" for number, name in enumerate(SWITCHES, 1))}]
servers: [{{id: s, tier: edge, at: sound, cpu_cores: 1, memory_mb: 512}}]
links:
{"".join(f"  - {{a: sound, b: {name}, bandwidth_mbps: 1, delay_ms: 1}}{chr(10)}" for name in SWITCHES[1:])}
endpoints: [{{id: u, at: sound}}, {{id: w, at: small}}]
vnf_types:
  firewall: {{cpu_base: 0.001, cpu_per_mbps: 0.001, memory_mb: 1, state_mb: 0, service_ms: 0.1}}
chains:
{
    "".join(
        f"  - {{id: c{n}, from: u, to: w, vnfs: [firewall, firewall, firewall], max_delay_ms: 50, flow: {{dst_port: {n}}},"
        f" traffic: {{profile: constant, mean_mbps: 1}}}}{chr(10)}"
        for n in range(1, 11)
    )
}
"""  # noqa: E501


def rules(switch: str) -> list[str]:
    protocol = "OpenFlow10" if switch == "old" else "OpenFlow13"
    text = run("ovs-ofctl", "-O", protocol, "--no-stats", "dump-flows", switch)
    return sorted(line.strip() for line in text.splitlines() if "actions=" in line)


def start_switches(folder: Path) -> None:
    os.environ.update(dict.fromkeys(("OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR"), str(folder)))
    run("ovsdb-tool", "create", str(folder / "conf.db"), "/usr/share/openvswitch/vswitch.ovsschema")
    common = ("--detach", "--no-chdir", "--log-file", "--pidfile")
    run("ovsdb-server", str(folder / "conf.db"), f"--remote=punix:{folder}/db.sock", *common)
    run("ovs-vsctl", "--no-wait", "init")
    run("ovs-vswitchd", f"unix:{folder}/db.sock", *common)
    for number, name in enumerate(SWITCHES, 1):
        protocol = "OpenFlow10" if name == "old" else "OpenFlow13"
        run("ovs-vsctl", "--timeout=10", "add-br", name, "--", "set", "Bridge", name, "datapath_type=netdev",
            "fail_mode=secure", f"protocols={protocol}", f"other-config:datapath-id={number:016x}")  # fmt: skip
    for table in (0, 1):
        run("ovs-vsctl", "--timeout=10", "--", f"--id=@t{table}", "create", "Flow_Table", f"flow_limit={FLOW_LIMIT}",
            "--", "set", "Bridge", "small", f"flow_tables:{table}=@t{table}")  # fmt: skip


def connect() -> None:
    lying, silent = LyingWire(PORT, BEHIND_S), LyingWire(PORT, 0.0)
    silent.silent = True
    for name in SWITCHES:
        port = {"lying": lying.port, "silent": silent.port}.get(name, PORT)
        run("ovs-vsctl", "--timeout=10", "set-controller", name, f"tcp:127.0.0.1:{port}", "--", "set", "Controller",
            name, "max_backoff=1000", "connection_mode=out-of-band")  # fmt: skip


def add_theirs() -> None:
    """Rules of another application; not before a switch has its controller, since then it forgets all that it has."""
    for name in SWITCHES:
        protocol = "OpenFlow10" if name == "old" else "OpenFlow13"
        for rule in THEIRS[: 1 if name == "old" else 2]:
            run("ovs-ofctl", "-O", protocol, "add-flow", name, rule)


def qualify(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-m", "controller.cli", "qualify", str(folder / "lab.yaml"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert done.returncode in (0, 1), done.stderr
    assert done.stdout, done.stderr
    return done


def main(_word: str, folder: str) -> None:
    place = Path(folder)
    (place / "lab.yaml").write_text(SCENARIO)
    run("ip", "link", "set", "lo", "up")
    start_switches(place)
    connect()
    add_theirs()
    before = {name: rules(name) for name in SWITCHES}
    every = qualify(place, "--json", "--timeout", "6")
    after = {name: rules(name) for name in SWITCHES}
    one = qualify(place, "--switch", "sound")
    found = {"code": every.returncode, "found": json.loads(every.stdout), "before": before, "after": after}
    print(json.dumps(found | {"alone": one.returncode, "table": one.stdout}), flush=True)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("q")
    command = ["unshare", "-n", "-m", "-p", "-f", "--mount-proc", "--kill-child", sys.executable, "-m", __name__]
    done = subprocess.run([*command, "lab", str(folder)], cwd=ROOT, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr[-4000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def lacking(lab: dict[str, Any], switch: str, *, needed: bool = True) -> dict[str, str]:
    features = lab["found"][switch]
    return {f["name"]: f["found"] for f in features if not f["ok"] and f["needed"] == needed}


pytestmark = pytest.mark.root


def test_a_sound_switch_can_be_used(lab: dict[str, Any]) -> None:
    assert lacking(lab, "sound") == {}
    assert lacking(lab, "sound", needed=False) == {}
    assert lab["alone"] == 0
    assert "switch sound: can be used" in lab["table"]


def test_one_that_cannot_be_used_ends_the_command_with_1(lab: dict[str, Any]) -> None:
    assert lab["code"] == 1


def test_a_small_table_is_measured(lab: dict[str, Any]) -> None:
    found = lacking(lab, "small")
    assert set(found) == {"room in table 1"}  # what is left beside the other application's rule is enough for table 0
    assert found["room in table 1"].startswith(f"{FLOW_LIMIT - 1}, ")
    assert "TABLE_FULL" in found["room in table 1"]


def test_a_lying_switch_is_told_and_may_be_used(lab: dict[str, Any]) -> None:
    assert lacking(lab, "lying") == {}
    assert "obeys up to" in lacking(lab, "lying", needed=False)["barriers tell the truth"]


def test_one_that_answers_no_barrier_cannot_be_used(lab: dict[str, Any]) -> None:
    assert lacking(lab, "silent") == {"barriers": "no answer"}


def test_one_that_speaks_an_old_version_is_told(lab: dict[str, Any]) -> None:
    assert "speaks OpenFlow 1.0 only" in lacking(lab, "old")["OpenFlow 1.3"], lab["found"]["old"]


def test_every_switch_is_left_as_it_was(lab: dict[str, Any]) -> None:
    assert lab["after"] == lab["before"]
    assert all(lab["before"].values())


if __name__ == "__main__":
    main(*sys.argv[1:])
