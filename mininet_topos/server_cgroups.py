"""Emulated servers as control groups: the VNFs of one server share its CPU quota and its memory.

Groups are /vnftwin-RUN/SERVER in every hierarchy, version 1 or 2. A run holds a lock on its own top folder while it
lives (cgroup folders take `flock`, and show it in every mount namespace): what is unlocked is a dead run's.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from twin.errors import EnvironmentLack
from twin.scenario import Server

CGROUP_ROOT = Path("/sys/fs/cgroup")
PREFIX = "vnftwin-"
_PERIOD_US = 10_000  # short, so that a capped VNF is not silent for long: docs/vnf.md, "Server capacity"
_LEAST_QUOTA_US = 1_000  # what the kernel accepts
_V2_CONTROLLERS = ("cpu", "memory", "pids")
_NO_LIMIT = {"pids.max": "max"}
_CREATE_TRIES = 5
_BUSY_S = 3.0
_POLL_S = 0.01


class CgroupTree:
    """One named group in every hierarchy, locked while in use and removed with all that is below it."""

    def __init__(self, name: str, root: Path = CGROUP_ROOT) -> None:
        self.name, self._root = name, root
        self._lock_fd = -1

    @staticmethod
    def mounts(root: Path = CGROUP_ROOT) -> tuple[Path, ...]:
        """Folders of the mounted hierarchies: the root alone in version 2, one per hierarchy in version 1."""
        if (root / "cgroup.controllers").is_file():
            return (root,)
        mounts = (path for path in sorted(root.glob("*")) if path.is_dir() and not path.is_symlink())
        return tuple(path for path in mounts if (path / "cgroup.procs").is_file())

    @property
    def folders(self) -> tuple[Path, ...]:
        return tuple(mount / self.name for mount in self.mounts(self._root))

    def create(self) -> None:
        """Makes and locks it. EnvironmentLack when another living run has the name, or groups cannot be made."""
        try:
            for _ in range(_CREATE_TRIES):
                self._make()
                if self._lock_fd >= 0:
                    return
                time.sleep(_POLL_S)  # another run's search for leftovers may hold the lock for a moment
        except OSError as error:
            mend = "run as root on a machine with writable cgroups"
            raise EnvironmentLack(f"control group {self.name}: {error.strerror}", mend) from None
        raise EnvironmentLack(f"control group {self.name} is in use", "choose another run id, or end that run")

    def _make(self) -> None:
        for folder in self.folders:
            folder.mkdir(exist_ok=True)
            delegate(folder.parent)
            delegate(folder)
        self._lock_fd = _lock(self.folders[0])
        if self._lock_fd >= 0 and os.fstat(self._lock_fd).st_nlink == 0:  # removed between making and locking
            os.close(self._lock_fd)
            self._lock_fd = -1

    def within(self, name: str) -> Path | None:
        """A group in it of the CPU alone, with the weight of any other; None where there is no CPU hierarchy."""
        for folder in (path / name for path in self.folders):
            if (folder.parent / "cpu.stat").is_file():
                folder.mkdir(exist_ok=True)
                return folder
        return None

    def remove(self) -> None:
        """Kills what runs in it and removes it; nothing happens where it is gone already."""
        for folder in self.folders:
            remove_group(folder)
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1


class ServerCgroups:
    """The groups of one run's servers. Use as a context manager: all are removed at the end."""

    def __init__(self, run_id: str, root: Path = CGROUP_ROOT) -> None:
        self._tree = CgroupTree(PREFIX + run_id, root)
        self._root = root

    def __enter__(self) -> ServerCgroups:
        remove_leftovers(self._root)
        self._tree.create()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._tree.remove()

    def path(self, server: str) -> str:
        """What `Server.cgroup` has to say."""
        return f"/{self._tree.name}/{server}"

    def add(self, server: Server) -> str:
        """Makes a server's group with its limits and returns its path."""
        for folder in self._folders(server.id):
            folder.mkdir(exist_ok=True)
            delegate(folder)
            _limit(folder, cores=server.cpu_cores, memory_mb=server.memory_mb)
        return self.path(server.id)

    def add_all(self, servers: Sequence[Server]) -> None:
        """Makes the groups of all servers."""
        for server in servers:
            self.add(server)

    def power_off(self, server: str) -> None:
        """Nothing may start there any more, then everything that runs there is killed."""
        for folder in self._folders(server):
            _write(folder / "pids.max", "0")
        for folder in self._folders(server):
            kill_all(folder)

    def power_on(self, server: str) -> None:
        """VNFs may start there again; none does by itself."""
        for folder in self._folders(server):
            _write(folder / "pids.max", _NO_LIMIT["pids.max"])

    def _folders(self, server: str) -> list[Path]:
        return [folder / server for folder in self._tree.folders]


def step_back(folder: Path) -> None:
    """From now on the group's processes have an eighth of the weight of everybody else.

    Niceness would not do: where the kernel groups tasks by session (`autogroup`), it counts only within one.
    """
    _write(folder / "cpu.shares", "128")  # of 1024
    _write(folder / "cpu.weight", "12")  # of 100


def remove_leftovers(root: Path = CGROUP_ROOT) -> None:
    """Removes the groups of runs that are dead: those whose lock is free."""
    mounts = CgroupTree.mounts(root)
    names = sorted({path.name for mount in mounts for path in mount.glob(PREFIX + "*")})
    for name in names:
        folder = mounts[0] / name
        lock_fd = -1
        with suppress(OSError):  # made in another hierarchy only: nobody holds it
            if folder.is_dir():
                lock_fd = _lock(folder)
                if lock_fd < 0:
                    continue
        CgroupTree(name, root).remove()
        if lock_fd >= 0:
            os.close(lock_fd)


def delegate(folder: Path) -> None:
    """Version 2 only: gives a folder's children the controllers; version 1 folders have them all."""
    control = folder / "cgroup.subtree_control"
    if control.is_file():
        offered = (folder / "cgroup.controllers").read_text().split()
        for name in _V2_CONTROLLERS:
            if name in offered:
                control.write_text(f"+{name}")


def kill_all(folder: Path) -> None:
    """Kills every process of a group and below, until none is left."""
    deadline = time.monotonic() + _BUSY_S
    while (pids := list(_processes(folder))) and time.monotonic() < deadline:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL_S)


def remove_group(folder: Path) -> None:
    """Kills, then removes from the deepest; a group stays busy for a moment after its last process."""
    kill_all(folder)
    deadline = time.monotonic() + _BUSY_S
    while folder.is_dir() and time.monotonic() < deadline:
        for path, _, _ in os.walk(folder, topdown=False):
            with suppress(OSError):
                os.rmdir(path)
        if folder.is_dir():
            time.sleep(_POLL_S)


def _processes(folder: Path) -> Iterator[int]:
    """Pids in a group and below; 0 stands for a process of a PID namespace that we don't see."""
    for path, _, _ in os.walk(folder):
        with suppress(OSError):
            yield from (int(pid) for pid in Path(path, "cgroup.procs").read_text().split() if pid != "0")


def _lock(folder: Path) -> int:
    """A descriptor that holds the folder's lock, -1 when somebody else has it."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return -1
    return fd


def _limit(folder: Path, *, cores: float, memory_mb: float) -> None:
    """Writes those limits whose files this hierarchy has."""
    quota_us = max(round(cores * _PERIOD_US), _LEAST_QUOTA_US)
    memory_bytes = round(memory_mb * (1 << 20))
    _write(folder / "cpu.cfs_period_us", str(_PERIOD_US))
    _write(folder / "cpu.cfs_quota_us", str(quota_us))
    _write(folder / "cpu.max", f"{quota_us} {_PERIOD_US}")
    _write(folder / "memory.limit_in_bytes", str(memory_bytes))
    _write(folder / "memory.max", str(memory_bytes))


def _write(path: Path, value: str) -> None:
    if path.exists():
        path.write_text(value)
