"""Where a run keeps sockets and databases while it lives, and the removal of what dead runs left.

`/run/vnftwin/ID` is short (a unix socket's address holds 107 characters) and locked while the run lives, so that a run
that was killed can be told from one that goes on.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from mininet_topos.server_cgroups import CGROUP_ROOT, PREFIX, remove_leftovers
from twin.errors import EnvironmentLack

STATE_ROOT = Path("/run/vnftwin")
_LOCK = "lock"
_REMOVE_S = 10.0
_CREATE_TRIES = 10
_POLL_S = 0.05


class RunState:
    """One run's folder. The lock goes with the last process that holds the descriptor."""

    def __init__(self, path: Path, lock_fd: int) -> None:
        self.path, self._lock_fd = path, lock_fd

    @property
    def run_id(self) -> str:
        return self.path.name

    @classmethod
    def create(cls, root: Path = STATE_ROOT) -> RunState:
        """A new folder, locked, after removing what dead runs left. EnvironmentLack where it can't be made."""
        for _ in range(_CREATE_TRIES):
            try:
                root.mkdir(parents=True, exist_ok=True)
                remove_dead_runs(root)
                state = cls._locked(Path(tempfile.mkdtemp(dir=root, prefix="r")))
            except FileNotFoundError:
                continue  # another run ended just now and took the empty root with it
            except OSError as error:
                raise EnvironmentLack(f"{root}: {error.strerror}", f"make {root} writable for root") from None
            if state is not None:
                return state
        raise EnvironmentLack(f"no folder can be kept in {root}", f"see who removes folders from {root}")

    @classmethod
    def _locked(cls, path: Path) -> RunState | None:
        """None when another start took the new folder for a dead run's, before it was locked, and removed it."""
        lock_fd = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        fcntl.flock(lock_fd, fcntl.LOCK_EX)
        if os.fstat(lock_fd).st_nlink:
            return cls(path, lock_fd)
        os.close(lock_fd)
        return None

    def release(self) -> None:
        """For a forked process that shall not keep the run alive."""
        os.close(self._lock_fd)

    def remove(self) -> None:
        """Removes folder and cgroups; what still dies is waited for. Nothing happens where they are gone."""
        deadline = time.monotonic() + _REMOVE_S
        while time.monotonic() < deadline:
            remove_leftovers()
            shutil.rmtree(self.path, ignore_errors=True)
            if not self.path.exists() and not list(CGROUP_ROOT.glob(f"*/{PREFIX}{self.run_id}")):
                break
            time.sleep(_POLL_S)
        with suppress(OSError):
            self.path.parent.rmdir()  # only when no other run is there


def remove_dead_runs(root: Path = STATE_ROOT) -> None:
    """Removes the folders of runs whose lock is free, and the cgroups of dead runs."""
    remove_leftovers()
    for lock in root.glob(f"*/{_LOCK}"):
        with suppress(OSError):
            fd = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
            finally:
                os.close(fd)
