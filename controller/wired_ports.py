"""Switch ports that are there before any VNF is: cables laid once between a switch and a server.

Where the switch is not an Open vSwitch of the controller's host, or the engine is on another machine, no port can be
made for an instance. The scenario then lists the server's ports, and for each the engine's network at the cable's other
end. An instance gets a port by being connected to that network (docs/real-switches.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from docker.client import DockerClient
from docker.errors import APIError, NotFound

from controller.containers import LABEL, ContainerEngine, ContainerError, Instance
from controller.docker_engine import DockerEngine
from controller.ports import QUARANTINE_S, PortPlumber
from twin.errors import InputError
from twin.scenario import Server, WiredPort

_NO_NETWORK = "none"  # the one in which every container of ours starts
_Slot = tuple[str, int]  # server, port


class WiredPorts:
    """Implements `controller.ports.PortPlumber` for servers with `ports`. Safe to call from several threads.

    Which instance has which port is asked of the engine, so a restarted controller finds it.
    """

    def __init__(
        self,
        run_id: str,
        engines: Mapping[str, ContainerEngine],
        *,
        quarantine_s: float = QUARANTINE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """A port that comes back is not used again for `quarantine_s`: rules of its last instance may still name it."""
        self._run_id, self._engines = run_id, engines
        self._quarantine_s, self._clock = quarantine_s, clock
        # Each use of these is one atomic operation, no lock is taken (see controller.usage on locks).
        self._claims: dict[_Slot, str] = {}
        self._usable_s: dict[_Slot, float] = {}

    def attach(self, instance: Instance, server: Server) -> int:
        """Gives the instance a free port; one that it has is given again. ContainerError where none is free."""
        held = self.attached(server)
        if instance.name in held:
            return held[instance.name]
        wired = self._claim(instance, server, taken=set(held.values()))
        try:
            with self._engine(server).client() as client:
                _plug_in(client, instance, wired.network)
        except ContainerError as error:
            self._claims.pop((server.id, wired.port), None)
            raise ContainerError(f"{instance.name}: port {wired.port} of {server.at}: {error}") from None
        return wired.port

    def detach(self, instance: Instance, server: Server) -> None:
        """Frees the port, which rests before it is used again."""
        port = self.attached(server).get(instance.name)
        claims = [slot for slot, name in self._claims.items() if name == instance.name and slot[0] == server.id]
        for slot in claims if port is None else [(server.id, port)]:
            self._usable_s[slot] = self._clock() + self._quarantine_s
            self._claims.pop(slot, None)
        network = next((wired.network for wired in server.ports if wired.port == port), "")
        if network:
            with self._engine(server).client() as client, suppress(NotFound):
                client.api.disconnect_container_from_network(instance.id, network, force=True)

    def attached(self, server: Server) -> Mapping[str, int]:
        """The port of every instance of this run on the server that has one, by the instance's name."""
        ports = {wired.network: wired.port for wired in server.ports}
        labels = [f"{LABEL}run={self._run_id}", f"{LABEL}server={server.id}"]
        with self._engine(server).client() as client:
            rows = client.api.containers(all=True, filters={"label": labels})
        return {
            name.lstrip("/"): ports[network]
            for row in rows
            for name in row["Names"] or ()
            for network in ports.keys() & row["NetworkSettings"]["Networks"].keys()
        }

    def _claim(self, instance: Instance, server: Server, *, taken: set[int]) -> WiredPort:
        resting = 0
        for wired in server.ports:
            slot = (server.id, wired.port)
            if wired.port in taken:
                continue
            if self._usable_s.get(slot, 0.0) > self._clock():
                resting += 1
            elif self._claims.setdefault(slot, instance.name) == instance.name:
                return wired
        rest = f", {resting} of them at rest for a moment" if resting else ""
        raise ContainerError(f"{instance.name}: none of the {len(server.ports)} ports of {server.id} is free{rest}")

    def _engine(self, server: Server) -> DockerEngine:
        engine = self._engines[server.id]
        if not isinstance(engine, DockerEngine):
            raise InputError(f"server {server.id}: `ports` need an engine with networks (unix://, tcp:// or ssh://)")
        return engine


class Plumbers:
    """Implements `PortPlumber`: servers with `ports` by the cables laid, the others by ports made for each instance."""

    def __init__(self, made: PortPlumber, wired: WiredPorts) -> None:
        self._made, self._wired = made, wired

    def attach(self, instance: Instance, server: Server) -> int:
        return self._for(server).attach(instance, server)

    def detach(self, instance: Instance, server: Server) -> None:
        self._for(server).detach(instance, server)

    def attached(self, server: Server) -> Mapping[str, int]:
        return self._for(server).attached(server)

    def _for(self, server: Server) -> PortPlumber:
        return self._wired if server.ports else self._made


def _plug_in(client: DockerClient, instance: Instance, network: str) -> None:
    """The interface appears in the container as `eth0`, for which its VNF waits."""
    with suppress(APIError):  # it has left that network already
        client.api.disconnect_container_from_network(instance.id, _NO_NETWORK)
    client.api.connect_container_to_network(instance.id, network)
