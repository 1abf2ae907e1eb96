"""Dump and restore of VNF instances between servers, where their engine can. All calls block: made from threads."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from controller.containers import Checkpoints, ContainerEngine, ContainerError, Instance, InstanceSpec
from controller.ports import PortPlumber
from twin.scenario import Server

READY_S = 10.0


@dataclass(frozen=True, slots=True)
class HostCheckpoints:
    """Engines by server; a move by checkpoint stays on one engine."""

    engines: Mapping[str, ContainerEngine]
    plumber: PortPlumber

    def lack(self, source: str, target: str) -> str:
        """Why no process can go from one server to another by checkpoint, in one line; '' where it can."""
        here, there = self.engines[source], self.engines[target]
        if here is not there:
            return f"{target} has another engine than {source}"
        return here.checkpoint_lack() if isinstance(here, Checkpoints) else "its engine cannot dump a process"

    def reserve(self, spec: InstanceSpec, server: Server) -> tuple[Instance, int]:
        """A place with its port, for a process that is still elsewhere."""
        engine = self._of(server.id)
        place = engine.reserve(spec)
        try:
            return place, self.plumber.attach(place, server)
        except BaseException:
            with suppress(ContainerError):
                self.engines[server.id].stop(place.id, timeout_s=1.0)
            raise

    def dump(self, instance: Instance) -> None:
        """Ends the process; its place and port stay."""
        self._of(instance.server).dump(instance)

    def restore(self, source: Instance, target: Instance) -> Instance:
        """Returns once the process answers in its new place."""
        engine = self._of(target.server)
        restored = engine.restore(source, target)
        self.engines[target.server].wait_ready(restored, timeout_s=READY_S)
        return restored

    def _of(self, server: str) -> Checkpoints:
        engine = self.engines[server]
        if isinstance(engine, Checkpoints):
            return engine
        raise ContainerError(f"{server}: its engine cannot dump a process")
