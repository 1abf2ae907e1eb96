"""What instances and servers use, read from control groups on this host with descriptors kept open.

Shared by the engines whose instances are processes of this host. Safe to call from several threads: each step on a
shared mapping is one atomic operation, and no lock is taken (a lock made under eventlet's monkey patching does not
hold between native threads).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controller.cgroups import CgroupError, GroupReader, NetworkReader, ProcessReader
from controller.containers import ContainerError, Instance, ServerUsage, Usage


class UsageReader:
    """`servers` gives each server's control group ("" where it has none: then its instances are summed).

    `own_groups` tells whether an instance has a group of its own on a server without one, as a container has.
    """

    def __init__(self, servers: Mapping[str, str], *, own_groups: bool) -> None:
        self._servers, self._own_groups = dict(servers), own_groups
        self._instances: dict[str, tuple[GroupReader | ProcessReader, NetworkReader]] = {}
        self._groups: dict[str, GroupReader] = {}
        self._ended_cpu_s: dict[str, float] = dict.fromkeys(servers, 0.0)
        self._last: dict[str, Usage] = {}

    def instance(self, instance: Instance) -> Usage:
        """ContainerError when the instance is gone."""
        try:
            group, network = self._instances.get(instance.id) or self._open(instance)
            received, sent = network.bytes()
            usage = Usage(group.cpu_s(), group.memory_mb(), received, sent)
        except (CgroupError, ValueError, IndexError) as error:  # the latter when it ends while being read
            raise ContainerError(f"{instance.name}: no usage: {error}") from None
        self._last[instance.id] = usage
        return usage

    def server(self, server: str, instances: Iterable[Instance]) -> ServerUsage:
        """All of a server; `instances` are looked at only where it has no control group."""
        if server not in self._servers:
            raise ContainerError(f"unknown server: {server}")
        if not self._servers[server]:
            return self._sum(server, [i for i in instances if i.server == server and i.running])
        try:
            if server not in self._groups:
                self._groups[server] = GroupReader.at(self._servers[server])
            return ServerUsage(self._groups[server].cpu_s(), self._groups[server].memory_mb())
        except CgroupError as error:
            self._groups.pop(server, None)
            raise ContainerError(f"server {server}: no usage: {error}") from None

    def forget(self, instance_id: str, server: str) -> None:
        """To be called when an instance is stopped: what it used stays in its server's total."""
        last = self._last.pop(instance_id, None)
        if last is not None and server in self._ended_cpu_s:
            self._ended_cpu_s[server] += last.cpu_s
        for reader in self._instances.pop(instance_id, ()):
            reader.close()

    def _open(self, instance: Instance) -> tuple[GroupReader | ProcessReader, NetworkReader]:
        if instance.pid <= 0:
            raise CgroupError("it does not run here")
        grouped = self._own_groups or bool(self._servers.get(instance.server))
        group = GroupReader.of_process(instance.pid) if grouped else ProcessReader(instance.pid)
        try:
            readers = (group, NetworkReader(instance.pid))
        except CgroupError:
            group.close()
            raise
        kept = self._instances.setdefault(instance.id, readers)
        if kept is not readers:  # another thread was faster
            for reader in readers:
                reader.close()
        return kept

    def _sum(self, server: str, running: Iterable[Instance]) -> ServerUsage:
        usages = [self.instance(instance) for instance in running]
        cpu_s = self._ended_cpu_s[server] + sum(usage.cpu_s for usage in usages)
        return ServerUsage(cpu_s, sum(usage.memory_mb for usage in usages))
