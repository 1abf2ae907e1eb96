"""Switch ports for VNF instances: a veth pair between an Open vSwitch bridge and the instance's namespace.

The order matters: the switch port exists before the interface comes up, else a VNF's first packets are lost. A port is
not removed when its instance goes: while a switch daemon closes one it forwards nothing for 15 to 30 ms. The pair's far
end comes back instead, is *parked*, and serves the next instance at that switch.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import socket
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from controller import veth
from controller.containers import LABEL, ContainerError, Instance
from twin.scenario import Server

QUARANTINE_S = 2.0  # ten times the drain of old rules: docs/steering.md, "Plans"
SPARES = 4  # kept per bridge: the switch asks each for packets with every packet that it forwards
_RUN, _NAME = LABEL + "run", LABEL + "instance"


class PortPlumber(Protocol):
    """Gives an instance its one switch port and takes it away again."""

    def attach(self, instance: Instance, server: Server) -> int:
        """Returns the OpenFlow port number. ContainerError, with everything undone, when it cannot."""
        ...

    def detach(self, instance: Instance, server: Server) -> None:
        """To be called while the instance runs. No error for what is gone already, its process included."""
        ...

    def attached(self, server: Server) -> Mapping[str, int]:
        """OpenFlow port by name of instance, of all instances of this run with a port on the server's switch."""
        ...


class OvsPorts:
    """Ports on bridges of this host, in the namespace of the caller. Safe to call from several threads.

    What a restart needs is with the switch: a Port's `external_ids` name its run and the instance that holds it. (The
    switch daemon does not look at that column, so writing it disturbs nothing.) Spare ports are known to the controller
    that parked them only, and their pairs end with it: the next one takes what is left from the switch.
    """

    def __init__(
        self, run_id: str, *, quarantine_s: float = QUARANTINE_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """A port that comes back is not used again for `quarantine_s`: rules of its last instance may still name it."""
        self._run_id, self._quarantine_s, self._clock = run_id, quarantine_s, clock
        # Each use of these is one atomic operation, no lock is taken (see controller.usage on locks).
        self._parking = veth.Parking()
        self._spares: dict[tuple[str, str], deque[_Spare]] = {}
        self._made: set[str] = set()

    def attach(self, instance: Instance, server: Server) -> int:
        """Gives the instance a spare port or a new one. A port attached before is given again."""
        if instance.pid <= 0:
            raise ContainerError(f"{instance.name}: does not run, no port can be attached")
        try:
            known = self._held(server).get(instance.name)
            if known is not None and known.whole and veth.has_interface(instance.pid):
                return known.number
            if known is not None:  # half of one
                self._remove(known.name, server)
            port = self._claim_spare(instance, server) or self._make(instance, server)
            self._plug_in(port, instance, server)
        except ContainerError as error:
            raise ContainerError(f"{instance.name}: port on {server.bridge}: {error}") from None
        return port.number

    def detach(self, instance: Instance, server: Server) -> None:
        """Parks the port; removes it where instance (`pid` 0) or pair are gone, or there are spare ones enough."""
        spares = self._spares_of(server)
        port, mac = self._held(server).get(instance.name), mac_address(self._run_id, instance.name)
        if port is None:
            veth.delete_inside(instance.pid, mac)  # it may have lost its port to somebody else
        elif port.whole and len(spares) < SPARES and self._parking.bring_back(port.name, instance.pid, mac):
            self._park(port.name, server)
        else:
            self._remove(port.name, server)

    def attached(self, server: Server) -> Mapping[str, int]:
        """OpenFlow port of every instance of this run that has one on the server's bridge: what a restart finds."""
        return {name: port.number for name, port in self._held(server).items() if port.whole}

    def spares(self, server: Server) -> Collection[str]:
        """Names of the parked ports of the server's bridge, those in quarantine included."""
        return [port.name for port in self._ports(server) if self._parking.holds(port.name)]

    def port_name(self, instance: Instance, server: Server) -> str:
        """Name of the switch's end of an instance's pair, "" when it has none."""
        port = self._held(server).get(instance.name)
        return port.name if port is not None else ""

    def _claim_spare(self, instance: Instance, server: Server) -> _Port | None:
        """The spare that has been parked for longest, if its quarantine is over; what is broken is removed."""
        spares = self._spares_of(server)
        while spares:
            spare = spares.popleft()
            if spare.usable_s > self._clock():
                spares.appendleft(spare)
                return None
            with suppress(ContainerError):  # somebody may have taken the port from the switch
                claim = ["set", "Port", spare.name, *self._ids(instance)]
                # Nothing changes for the switch daemon, so its answer is not waited for.
                text = veth.run([*_vsctl(server), "--no-wait", *claim, "--", "get", "Interface", spare.name, "ofport"])
                port = _Port(spare.name, instance.name, _number(json.loads(text)))
                if port.whole and self._parking.holds(port.name):
                    return port
            self._remove(spare.name, server)
        return None

    def _make(self, instance: Instance, server: Server) -> _Port:
        """A new pair, parked, and its port. ContainerError, with nothing left behind, when the switch refuses it."""
        name = self._prefix(server) + secrets.token_hex(3)[:5]
        self._made.add(name)
        try:
            self._parking.make_pair(name)
            added = ["add-port", server.bridge, name, "--", "set", "Port", name, *self._ids(instance)]
            veth.run([*_vsctl(server), *added])
            number = _number(json.loads(veth.run([*_vsctl(server), "get", "Interface", name, "ofport"])))
            if number <= 0:
                raise ContainerError(f"the switch did not take {name}")
        except ContainerError:
            with suppress(ContainerError):
                self._remove(name, server)
            raise
        return _Port(name, instance.name, number)

    def _plug_in(self, port: _Port, instance: Instance, server: Server) -> None:
        mac = mac_address(self._run_id, instance.name)
        try:
            self._parking.plug_in(port.name, instance.pid, mac)
        except ContainerError:
            if self._parking.holds(port.name) or self._parking.bring_back(port.name, instance.pid, mac):
                self._park(port.name, server)
            else:
                with suppress(ContainerError):
                    self._remove(port.name, server)
            raise

    def _park(self, name: str, server: Server) -> None:
        """Nobody's from now on, and in a while a spare."""
        veth.run([*_vsctl(server), "--no-wait", "remove", "Port", name, "external_ids", f'"{_NAME}"'])
        self._spares_of(server).append(_Spare(name, self._clock() + self._quarantine_s))

    def _remove(self, name: str, server: Server) -> None:
        """Takes the port from the switch, and the pair away."""
        try:
            veth.run([*_vsctl(server), "--if-exists", "del-port", server.bridge, name])
        finally:
            self._parking.delete_pair(name)

    def _spares_of(self, server: Server) -> deque[_Spare]:
        """Those of the bridge; at first use, what an earlier controller left there is removed."""
        bridge = (server.ovsdb, server.bridge)
        if bridge not in self._spares:
            self._sweep(server)
        return self._spares.setdefault(bridge, deque())

    def _sweep(self, server: Server) -> None:
        """Removes ports that nobody holds, those without a pair, and pairs without a port."""
        ports, prefix = self._ports(server), self._prefix(server)
        for port in ports:
            held = port.instance or port.name in self._made
            if not (held and veth.exists(port.name)):
                self._remove(port.name, server)
        known = {port.name for port in ports}
        for _, name in socket.if_nameindex():
            if name.startswith(prefix) and name not in known and name not in self._made:
                self._parking.delete_pair(name)

    def _held(self, server: Server) -> dict[str, _Port]:
        """Ports that an instance holds, by its name."""
        ports = self._ports(server)
        return {port.instance: port for port in ports if port.instance and not self._parking.holds(port.name)}

    def _ports(self, server: Server) -> list[_Port]:
        """All of this run on the server's bridge."""
        text = veth.run([
            *_vsctl(server), "--format=json", "list-ports", server.bridge,
            "--", "--columns=name,external_ids", "find", "Port", f'external_ids:"{_RUN}"="{self._run_id}"',
            "--", "--columns=name,ofport", "list", "Interface",
        ])  # fmt: skip
        *listed, found, interfaces = text.splitlines()
        here, numbers = set(listed), dict(json.loads(interfaces)["data"])
        # In the database's JSON a map is ["map", [[key, value], …]].
        rows = [(name, dict(ids[1])) for name, ids in json.loads(found)["data"] if name in here]
        return [_Port(name, ids.get(_NAME, ""), _number(numbers.get(name))) for name, ids in rows]

    def _prefix(self, server: Server) -> str:
        """What the names of this run's ports on a bridge begin with; five characters follow."""
        return veth.NEAR + _digest(self._run_id, server.ovsdb, server.bridge)[:8]

    def _ids(self, instance: Instance) -> list[str]:
        return [f'external_ids:"{_RUN}"="{self._run_id}"', f'external_ids:"{_NAME}"="{instance.name}"']


@dataclass(frozen=True, slots=True)
class _Spare:
    """A parked port, and from when on (on the clock) it may be used again."""

    name: str
    usable_s: float


@dataclass(frozen=True, slots=True)
class _Port:
    """One port as the switch's database has it; `number` is -1 while the switch has not taken it."""

    name: str
    instance: str
    number: int

    @property
    def whole(self) -> bool:
        """False when the pair has vanished, with the namespace of its far end."""
        return self.number > 0 and veth.exists(self.name)


def mac_address(run_id: str, name: str) -> str:
    """Locally administered, the same for the same instance of the same run."""
    digest = _digest(run_id, name)
    return ":".join(["02", *(digest[i : i + 2] for i in range(0, 10, 2))])


def _number(cell: object) -> int:
    """An OpenFlow port out of the database, which has an empty set where there is none."""
    return cell if isinstance(cell, int) else -1


def _digest(*words: str) -> str:
    return hashlib.sha256("/".join(words).encode()).hexdigest()


def _vsctl(server: Server) -> list[str]:
    database = [f"--db={server.ovsdb}"] if server.ovsdb else []
    return ["ovs-vsctl", "--timeout=10", *database]
