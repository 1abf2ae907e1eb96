"""What others' tools say of a live run: the engine's command line, ovs-ofctl, ovs-vsctl, ip and /proc.

Nothing here asks the controller what it believes. `problems` names everything that is not as it must be between two
moves: one container per VNF, on a server of the test bed, one port each, whole chains and nothing besides.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from controller.run import LiveRun
from twin.scenario import Scenario

_TAG = re.compile(r"dl_vlan=(\d+)")
_IN_PORT = re.compile(r"in_port=\"?([\w-]+)")
_COOKIE = re.compile(r"cookie=0x([0-9a-f]+)")
ROLE_INGRESS, ROLE_VNF, ROLE_RETURN = 2, 3, 4


@dataclass(frozen=True)
class Container:
    """One container as `docker ps` and `docker inspect` tell."""

    name: str
    vnf: str
    server: str
    running: bool
    pid: int


class Outside:
    """Looks at one live run from within its namespaces."""

    def __init__(self, run: LiveRun, scenario: Scenario) -> None:
        self.run, self.scenario = run, scenario

    def inside(self, *command: str, timeout_s: float = 30.0) -> str:
        enter = ["nsenter", "-t", str(self.run.bed_pid), "-n", "-m", "-p", "--"]
        return subprocess.run([*enter, *command], capture_output=True, text=True, check=True, timeout=timeout_s).stdout

    def docker(self, *command: str) -> str:
        return self.inside("docker", "-H", str(self.run.ready["engine"]), *command)

    def containers(self) -> list[Container]:
        names = self.docker("ps", "-aq", "--filter", "label=io.vnftwin.run").split()
        found = json.loads(self.docker("inspect", *names)) if names else []
        return [
            Container(
                c["Name"].lstrip("/"), c["Config"]["Labels"]["io.vnftwin.vnf"],
                c["Config"]["Labels"]["io.vnftwin.server"], c["State"]["Running"], c["State"]["Pid"],
            )
            for c in found
        ]  # fmt: skip

    def flows(self, switch: str) -> list[str]:
        bridge = f"unix:{self.run.ready['ovs_rundir']}/{switch}.mgmt"
        text = self.inside("ovs-ofctl", "-O", "OpenFlow13", "--no-names", "dump-flows", bridge)
        return [line for line in text.splitlines() if "cookie=" in line]

    def all_flows(self) -> dict[str, list[str]]:
        return {switch.id: self.flows(switch.id) for switch in self.scenario.switches}

    def instance_ports(self) -> list[str]:
        """Instances that have a switch port, by the switch's database."""
        database = f"--db=unix:{self.run.ready['ovs_rundir']}/db.sock"
        text = self.inside("ovs-vsctl", database, "--format=json", "--columns=name,external_ids", "list", "Port")
        rows = [dict(ids[1]) for _, ids in json.loads(text)["data"]]
        return sorted(row["io.vnftwin.instance"] for row in rows if row.get("io.vnftwin.instance"))

    def received(self) -> dict[str, int]:
        """Packets that came in at eth0 of every VNF's container so far, by name: from the kernel, not from the VNF."""
        counts = {}
        for container in self.containers():
            if container.running:
                text = self.inside("cat", f"/proc/{container.pid}/net/dev")
                line = next((line for line in text.splitlines() if line.strip().startswith("eth0:")), "")
                counts[container.name] = int(line.split(":")[1].split()[1]) if line else 0
        return counts

    def problems(self) -> list[str]:
        """Everything that is not as it must be between two moves; [] when all is well."""
        try:
            return [*self._instance_problems(), *self._rule_problems()]
        except subprocess.SubprocessError as error:  # what was listed was gone when it was looked at
            return [f"still changing: {error}"]

    def await_flowing(self, timeout_s: float) -> list[str]:
        """VNFs whose interfaces see no packets after so long; returns as soon as all do."""
        deadline, before = time.monotonic() + timeout_s, self.received()
        idle = sorted(before)
        while idle and time.monotonic() < deadline:
            time.sleep(0.4)
            now = self.received()
            idle = sorted(name for name, count in now.items() if count - before.get(name, count) < 5)
            before = now
        return [f"{name} sees no packets" for name in idle]

    def await_whole(self, timeout_s: float) -> list[str]:
        """The problems that are still there after so long; returns as soon as there are none."""
        deadline = time.monotonic() + timeout_s
        while (found := self.problems()) and time.monotonic() < deadline:
            time.sleep(0.25)
        return found

    def _instance_problems(self) -> Iterator[str]:
        containers = self.containers()
        vnfs = Counter(container.vnf for container in containers)
        for vnf in self.scenario.vnfs:
            if vnfs[vnf.id] != 1:
                yield f"{vnf.id} has {vnfs[vnf.id]} containers"
        yield from (f"container {c.name} does not run" for c in containers if not c.running)
        names, ports = sorted(container.name for container in containers), self.instance_ports()
        if names != ports:
            yield f"containers {names} but ports of {ports}"

    def _rule_problems(self) -> Iterator[str]:
        """Per chain one generation of each segment, one entry per segment; per VNF one port that is let in."""
        generations: dict[tuple[int, int], set[int]] = {}
        entries: Counter[tuple[int, int]] = Counter()
        for lines in self.all_flows().values():
            for line in lines:
                role, number, segment = _meaning(line)
                if number and "table=1" in line and (tag := _TAG.search(line)):
                    generations.setdefault((number, segment), set()).add(int(tag[1]) & 1)
                elif number and role in (ROLE_INGRESS, ROLE_VNF, ROLE_RETURN):
                    entries[number, segment] += 1
        for chain in self.scenario.chains:
            segments = {segment for of, segment in generations if of == chain.number}
            begun = {segment for of, segment in entries if of == chain.number}
            if not {*range(len(chain.vnfs) + 1)} <= segments & begun:
                yield f"chain {chain.id} has only the segments {sorted(segments)}, entries of {sorted(begun)}"
        yield from (f"chain {c} segment {s} has both generations" for (c, s), g in generations.items() if len(g) > 1)
        yield from (f"chain {c} segment {s} has {n} entries" for (c, s), n in entries.items() if n != 1)


def _meaning(flow: str) -> tuple[int, int, int]:
    """Role, chain and segment of a flow, from its cookie's bits (docs/steering.md, "Tags")."""
    found = _COOKIE.search(flow)
    cookie = int(found[1], 16) if found else 0
    return cookie >> 40 & 0xFF, cookie >> 16 & 0x7F, cookie >> 8 & 0xF


def losses(ledger: Mapping[str, Mapping[str, int]]) -> dict[str, tuple[int, int]]:
    """Per chain packets lost and duplicated, where there are any."""
    return {
        name: (chain["lost"], chain["duplicated"])
        for name, chain in ledger.items()
        if chain["lost"] or chain["duplicated"]
    }
