"""Cheap readings of control groups, version 1, version 2 and hybrid, and of a process's network counters.

Which version holds a controller is told by what is there, controller by controller: a hybrid system keeps some in
version 1 hierarchies and some in the unified one. Descriptors stay open: a reading is one `pread` (docs/vnf.md,
"What a reading costs").
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

CGROUP_ROOT = Path("/sys/fs/cgroup")
PROC = Path("/proc")
MB = 1_000_000.0
_READ_BYTES = 4096

Controller = Literal["cpuacct", "cpu", "memory", "pids"]
_V2_NAME: Mapping[Controller, str] = {"cpuacct": "cpu", "cpu": "cpu", "memory": "memory", "pids": "pids"}
_CPU_FILE = {1: "cpuacct.usage", 2: "cpu.stat"}
_MEMORY_FILE = {1: "memory.usage_in_bytes", 2: "memory.current"}


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Where a controller lives: its version (1 or 2) and the mounted folder."""

    version: int
    mount: Path


class CgroupError(OSError):
    """A group or process that is not there (any more)."""


def find_hierarchy(controller: Controller, root: Path = CGROUP_ROOT) -> Hierarchy | None:
    """The hierarchy that accounts for a controller, None where no mounted one does.

    Version 1 folders may be shared ("cpu,cpuacct"), version 2 is the root itself or, on a hybrid system, `unified`.
    """
    for mount in sorted(root.glob("*")):
        if controller in mount.name.split(",") and mount.is_dir():
            return Hierarchy(1, mount)
    for mount in (root, root / "unified"):
        listed = mount / "cgroup.controllers"
        if listed.is_file() and _V2_NAME[controller] in listed.read_text().split():
            return Hierarchy(2, mount)
    return None


def group_of(pid: int, controller: Controller, *, root: Path = CGROUP_ROOT, proc: Path = PROC) -> Path:
    """The folder of a process's group in the hierarchy of a controller. CgroupError when there is none."""
    hierarchy = find_hierarchy(controller, root)
    if hierarchy is None:
        raise CgroupError(f"no mounted cgroup hierarchy accounts for {controller}")
    try:
        lines = (proc / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        raise CgroupError(f"no process {pid}") from None
    for line in lines:
        _, names, path = line.split(":", 2)
        if names == "" if hierarchy.version == 2 else controller in names.split(","):
            return hierarchy.mount / path.lstrip("/")
    raise CgroupError(f"process {pid} is in no {controller} group")


def group_at(path: str, controller: Controller, *, root: Path = CGROUP_ROOT) -> Path:
    """The folder of the group named `path` ("/run/server") in the hierarchy of a controller."""
    hierarchy = find_hierarchy(controller, root)
    if hierarchy is None:
        raise CgroupError(f"no mounted cgroup hierarchy accounts for {controller}")
    return hierarchy.mount / path.lstrip("/")


class OpenFile:
    """A small pseudo-file kept open and read from its beginning each time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise CgroupError(f"{path}: {error.strerror}") from None

    def read(self) -> str:
        """CgroupError when what it described is gone."""
        try:
            return os.pread(self._fd, _READ_BYTES, 0).decode()
        except OSError as error:
            raise CgroupError(f"{self.path}: {error.strerror}") from None

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class GroupReader:
    """CPU time and memory of one group and all below it."""

    def __init__(self, cpu: Path, memory: Path) -> None:
        self._cpu_version = 1 if (cpu / _CPU_FILE[1]).exists() else 2
        memory_version = 1 if (memory / _MEMORY_FILE[1]).exists() else 2
        self._cpu = OpenFile(cpu / _CPU_FILE[self._cpu_version])
        try:
            self._memory = OpenFile(memory / _MEMORY_FILE[memory_version])
        except CgroupError:
            self._cpu.close()
            raise

    @classmethod
    def of_process(cls, pid: int, *, root: Path = CGROUP_ROOT, proc: Path = PROC) -> GroupReader:
        """The group that a process is in."""
        return cls(*(group_of(pid, name, root=root, proc=proc) for name in _READ_CONTROLLERS))

    @classmethod
    def at(cls, path: str, *, root: Path = CGROUP_ROOT) -> GroupReader:
        """The group of that name, the same in every hierarchy."""
        return cls(*(group_at(path, name, root=root) for name in _READ_CONTROLLERS))

    def cpu_s(self) -> float:
        """CPU time since the group was made, of processes that have ended too."""
        text = self._cpu.read()
        return int(text) / 1e9 if self._cpu_version == 1 else _usage_us(text) / 1e6

    def memory_mb(self) -> float:
        """Memory charged now, page cache included."""
        return int(self._memory.read()) / MB

    def close(self) -> None:
        self._cpu.close()
        self._memory.close()


class ProcessReader:
    """CPU time and memory of one process that has no control group of its own."""

    def __init__(self, pid: int, *, proc: Path = PROC) -> None:
        self._cpu = OpenFile(proc / str(pid) / "schedstat")
        try:
            self._memory = OpenFile(proc / str(pid) / "statm")
        except CgroupError:
            self._cpu.close()
            raise

    def cpu_s(self) -> float:
        """Time on a CPU since the process began."""
        return int(self._cpu.read().split()[0]) / 1e9

    def memory_mb(self) -> float:
        """Resident set."""
        return int(self._memory.read().split()[1]) * os.sysconf("SC_PAGESIZE") / MB

    def close(self) -> None:
        self._cpu.close()
        self._memory.close()


_READ_CONTROLLERS: tuple[Controller, Controller] = ("cpuacct", "memory")


def _usage_us(cpu_stat: str) -> int:
    for line in cpu_stat.splitlines():
        key, _, value = line.partition(" ")
        if key == "usage_usec":
            return int(value)
    raise CgroupError("cpu.stat without usage_usec")


class NetworkReader:
    """Bytes through one interface of a process's network namespace."""

    def __init__(self, pid: int, interface: str = "eth0", *, proc: Path = PROC) -> None:
        self._file = OpenFile(proc / str(pid) / "net" / "dev")
        self._prefix = interface + ":"

    def bytes(self) -> tuple[int, int]:
        """Received and sent; (0, 0) while the interface is not there."""
        for line in self._file.read().splitlines():
            if line.lstrip().startswith(self._prefix):
                fields = line.partition(":")[2].split()
                return int(fields[0]), int(fields[8])
        return 0, 0

    def close(self) -> None:
        self._file.close()


def limit_memory(hierarchy: Hierarchy, group: Path, memory_mb: float) -> None:
    """No error where the group has no such limit."""
    file = group / ("memory.limit_in_bytes" if hierarchy.version == 1 else "memory.max")
    if file.exists():
        file.write_text(str(round(memory_mb * (1 << 20))))


def remove_group(group: Path) -> None:
    """A group stays busy for a moment after its last process."""
    for _ in range(100):
        try:
            group.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.002)
        else:
            return
