"""Switch ports for VNF instances: a veth pair between an Open vSwitch bridge and the instance's namespace.

The order matters: the switch port exists before the interface comes up, else a VNF's first packets are lost.
"""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from controller.containers import LABEL, ContainerError, Instance
from twin.scenario import Server

_INTERFACE = "eth0"
_COMMAND_TIMEOUT_S = 15
_RUN, _NAME = LABEL + "run", LABEL + "instance"
# In the instance's namespace: no IPv6 chatter, whole checksums (a user-space VNF would pass half ones on), then up.
_PREPARE = f"""
for knob in all default; do echo 1 > /proc/sys/net/ipv6/conf/$knob/disable_ipv6; done 2> /dev/null
ethtool -K {_INTERFACE} tx off rx off tso off gso off gro off > /dev/null && ip link set {_INTERFACE} up
"""


class PortPlumber(Protocol):
    """Gives an instance its one switch port and takes it away again."""

    def attach(self, instance: Instance, server: Server) -> int:
        """Returns the OpenFlow port number. ContainerError, with everything undone, when it cannot."""
        ...

    def detach(self, instance: Instance, server: Server) -> None:
        """No error for what is gone already, the instance's process included."""
        ...

    def attached(self, server: Server) -> Mapping[str, int]:
        """OpenFlow port by name of instance, of all instances of this run with a port on the server's switch."""
        ...


class OvsPorts:
    """Ports on bridges of this host, in the namespace of the caller. Safe to call from several threads."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id

    def attach(self, instance: Instance, server: Server) -> int:
        """Makes the pair, adds the port, then brings the interface up. A port attached before is given again."""
        if instance.pid <= 0:
            raise ContainerError(f"{instance.name}: does not run, no port can be attached")
        port = self.port_name(instance)
        if _exists(port):  # attached before, or half of it
            known = self.attached(server).get(instance.name)
            if known is not None and _has_interface(instance.pid):
                return known
            self.detach(instance, server)
        try:
            self._make_pair(instance, port)
            number = self._add_port(instance, server, port)
            _run(["nsenter", "-t", str(instance.pid), "-n", "sh", "-c", _PREPARE])
        except ContainerError as error:
            with suppress(ContainerError):
                self.detach(instance, server)
            raise ContainerError(f"{instance.name}: port on {server.bridge}: {error}") from None
        return number

    def detach(self, instance: Instance, server: Server) -> None:
        """Removes the switch port and the pair."""
        port = self.port_name(instance)
        try:
            _run([*_vsctl(server), "--if-exists", "del-port", server.bridge, port])
        finally:
            if _exists(port):
                with suppress(ContainerError):  # it may vanish with its namespace at this very moment
                    _run(["ip", "link", "del", port])

    def attached(self, server: Server) -> Mapping[str, int]:
        """OpenFlow port of every instance of this run that has one on the server's bridge: what a restart finds."""
        ports = set(_run([*_vsctl(server), "list-ports", server.bridge]).split())
        columns = ["--format=json", "--columns=name,ofport,external_ids"]
        found = _run([*_vsctl(server), *columns, "find", "Interface", f'external_ids:"{_RUN}"="{self._run_id}"'])
        rows = [_parse_row(row) for row in json.loads(found)["data"]]
        return {row.instance: row.number for row in rows if row.port in ports and row.number > 0}

    def port_name(self, instance: Instance) -> str:
        """Name of the switch's end: 15 characters, the same for the same instance of the same run."""
        return "vt" + _digest(self._run_id, instance.name)[:13]

    def _make_pair(self, instance: Instance, port: str) -> None:
        """Both ends down; the far one is born in the instance's namespace with its final name and address."""
        mac = mac_address(self._run_id, instance.name)
        near = ["ip", "link", "add", port, "type", "veth", "peer", "name", _INTERFACE, "address", mac]
        _run([*near, "netns", str(instance.pid)])

    def _add_port(self, instance: Instance, server: Server, port: str) -> int:
        ids = [f'external_ids:"{_RUN}"="{self._run_id}"', f'external_ids:"{_NAME}"="{instance.name}"']
        _run(["ip", "link", "set", port, "up"])
        stale = ["--if-exists", "del-port", server.bridge, port]  # left by a pair that vanished
        added = ["add-port", server.bridge, port, "--", "set", "Interface", port, *ids]
        _run([*_vsctl(server), *stale, "--", *added])
        number = int(_run([*_vsctl(server), "get", "Interface", port, "ofport"]).strip() or -1)
        if number <= 0:
            raise ContainerError(f"the switch did not take {port}")
        return number


@dataclass(frozen=True, slots=True)
class _Row:
    """One interface as the switch's database has it; `number` is -1 while the switch has not taken it."""

    port: str
    number: int
    instance: str


def _parse_row(row: Sequence[object]) -> _Row:
    """A row of (name, ofport, external_ids) in the database's JSON, where a map is ["map", [[key, value], …]]."""
    name, number, ids = row
    pairs = dict(ids[1]) if isinstance(ids, list) else {}
    return _Row(str(name), number if isinstance(number, int) else -1, str(pairs.get(_NAME, "")))


def mac_address(run_id: str, name: str) -> str:
    """Locally administered, the same for the same instance of the same run."""
    digest = _digest(run_id, name)
    return ":".join(["02", *(digest[i : i + 2] for i in range(0, 10, 2))])


def _digest(run_id: str, name: str) -> str:
    return hashlib.sha256(f"{run_id}/{name}".encode()).hexdigest()


def _exists(interface: str) -> bool:
    """Asked of the caller's namespace; /sys would show the one it was mounted in."""
    try:
        socket.if_nametoindex(interface)
    except OSError:
        return False
    return True


def _has_interface(pid: int) -> bool:
    try:
        return f"{_INTERFACE}:" in Path(f"/proc/{pid}/net/dev").read_text()
    except OSError:
        return False


def _vsctl(server: Server) -> list[str]:
    database = [f"--db={server.ovsdb}"] if server.ovsdb else []
    return ["ovs-vsctl", "--timeout=10", *database]


def _run(command: Sequence[str]) -> str:
    """Output of a command; ContainerError with its first line of complaint."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ContainerError(f"{command[0]}: {error}") from None
    if result.returncode != 0:
        lines = (result.stderr.strip() or f"exit code {result.returncode}").splitlines()
        raise ContainerError(f"{command[0]}: {lines[0]}")
    return result.stdout
