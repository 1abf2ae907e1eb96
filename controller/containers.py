"""The seam to container engines: start, stop, watch and configure the instances of VNFs.

One adapter per engine: `controller.docker_engine` (the `docker` SDK, also Podman's compatible socket) and
`controller.process_engine` (processes in namespaces, where no engine can run). An adapter may block: it is
called from threads, never from the event loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from twin.errors import VnftwinError

LABEL = "io.vnftwin."  # prefix of the labels by which a restarted controller recognises its containers


class ContainerError(VnftwinError):
    """The engine refused or failed; the message names the instance and what was asked."""


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """What to start. `name` is unique in a run; `config` are the lines of the VNF's configuration (docs/vnf.md).

    A `standby` forwards nothing until it takes over from another instance (docs/handover.md).
    """

    name: str
    vnf: str
    function: str
    server: str
    image: str
    memory_mb: float
    config: Sequence[str]
    labels: Mapping[str, str]
    standby: bool = False


@dataclass(frozen=True, slots=True)
class Instance:
    """A running (or exited) instance as its engine reports it. `pid` is its init process on this host, 0 if none."""

    id: str
    name: str
    vnf: str
    server: str
    pid: int
    running: bool
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Usage:
    """Totals, and memory now. `cpu_s` counts from the instance's start, bytes from its interface's (docs/vnf.md)."""

    cpu_s: float
    memory_mb: float
    rx_bytes: int
    tx_bytes: int


@dataclass(frozen=True, slots=True)
class ServerUsage:
    """All VNFs of one server together."""

    cpu_s: float
    memory_mb: float


class ContainerEngine(Protocol):
    """Every method may raise `ContainerError`; none leaves half an instance behind when it does."""

    def descriptor_lack(self) -> str:
        """Why `ask` cannot pass an open file on, in one line; '' where it can."""
        ...

    def start(self, spec: InstanceSpec) -> Instance:
        """Starts an instance with no network; its interface is attached by `controller.ports`."""
        ...

    def wait_ready(self, instance: Instance, *, timeout_s: float) -> None:
        """Returns when the VNF answers health with its interface up; ContainerError when `timeout_s` is over."""
        ...

    def stop(self, instance_id: str, *, timeout_s: float) -> None:
        """Stops and removes; no error for an instance that is gone already."""
        ...

    def instances(self) -> Sequence[Instance]:
        """All instances of this run, whoever started them: a restarted controller adopts by label."""
        ...

    def remove_half_started(self) -> None:
        """Removes what a start that was cut off has left and `instances` does not show; before any other start."""
        ...

    def usage(self, instance: Instance) -> Usage: ...

    def server_usage(self, server: str) -> ServerUsage: ...

    def ask(self, instance: Instance, request: str, *, pass_fd: int | None = None) -> Mapping[str, object]:
        """One request of the VNF's control protocol (`health`, `counters`, `configure …`) and its answer.

        `pass_fd` goes with it: the VNF gets a descriptor of its own for the same open file.
        """
        ...


@runtime_checkable
class Checkpoints(Protocol):
    """What an engine has besides that can dump a VNF's process and restore it elsewhere on its host."""

    def checkpoint_lack(self) -> str:
        """Why it cannot, in one line; '' where it can. Tried out once, which takes about a second."""
        ...

    def reserve(self, spec: InstanceSpec) -> Instance:
        """A place for an instance: its namespace and what belongs to it, without a process of the VNF's."""
        ...

    def dump(self, instance: Instance) -> None:
        """Dumps the instance's process and ends it; its place stays. No error where that has been done."""
        ...

    def restore(self, source: Instance, target: Instance) -> Instance:
        """Brings the dumped process of `source` to life in the place of `target`, which may be its own.

        The place has to have the interface of the source, with the same index.
        """
        ...
