"""A private sandbox for the whole test bed: own network, mounts and processes, all gone with its first process.

front     in the host's namespaces: waits, passes signals on, ends when its own parent ends
├── janitor   waits until front and init are gone, however they went, then removes files and cgroups
└── init      PID 1 of the sandbox: reaps orphans; killed by the kernel when front ends
    └── worker    runs the test bed; when it ends, init ends, and the kernel kills whatever is left inside
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mininet_topos import syscalls
from mininet_topos.run_state import RunState
from twin.errors import EnvironmentLack, VnftwinError


@dataclass(frozen=True, slots=True)
class Inside:
    """What the worker knows of its sandbox: `host_pid` is init's as the host sees it, to `nsenter -t`."""

    state: Path
    run_id: str
    host_pid: int


def run_in_sandbox(worker: Callable[[Inside], int]) -> int:
    """Runs `worker` in a sandbox and returns its exit code, when nothing of it is left.

    EnvironmentLack without root. Must be called from a process with one thread.
    """
    if os.geteuid() != 0:
        raise EnvironmentLack("an emulated network needs root", "run the same command with sudo")
    syscalls.set_parent_death_signal(signal.SIGTERM)
    state = RunState.create()
    alive_read, alive_write = os.pipe()  # its end of file says that front and init are gone
    janitor = _fork(lambda: _janitor(state, alive_read, alive_write))
    os.close(alive_read)
    try:
        syscalls.unshare(syscalls.CLONE_NEWPID)
        init = _fork(lambda: _init(state, worker))
        return _wait_for(init)
    except OSError as error:
        raise EnvironmentLack(f"no namespaces can be made: {error.strerror}", "run on a host, or privileged") from None
    finally:
        os.close(alive_write)
        _waitpid(janitor)


def _fork(child: Callable[[], int]) -> int:
    """Forks; the child runs the function and ends with its result, without anything of the parent's cleaning up."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        code = child()
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(code)


def _wait_for(init: int) -> int:
    """Front: passes on the wish to end, and waits."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: os.kill(init, signal.SIGTERM))
    return _waitpid(init)


def _waitpid(pid: int) -> int:
    return abs(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _janitor(state: RunState, alive_read: int, alive_write: int) -> int:
    """Outlives a kill of the whole process group, and holds the run's lock until it has cleaned up."""
    os.setsid()
    os.close(alive_write)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    os.read(alive_read, 1)
    state.remove()
    return 0


def _init(state: RunState, worker: Callable[[Inside], int]) -> int:
    """PID 1: makes the rest of the sandbox, starts the worker, reaps until it ends."""
    syscalls.set_parent_death_signal(signal.SIGKILL)
    host_pid = int(os.readlink("/proc/self"))  # this /proc is still the host's
    state.release()
    syscalls.unshare(syscalls.CLONE_NEWNET | syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", "none", syscalls.MS_REC | syscalls.MS_PRIVATE)
    syscalls.mount("proc", "/proc", "proc", 0)
    _quiet_network()
    inside = Inside(state.path, state.run_id, host_pid)
    pid = _fork(lambda: _worker(worker, inside))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # from a terminal it reaches the worker by itself
    signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGTERM))
    while True:
        ended, status = os.wait()
        if ended == pid:
            return abs(os.waitstatus_to_exitcode(status))


def _quiet_network() -> None:
    """Loopback up; no interface made from now on speaks IPv6 by itself."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for name in ("all", "default"):
        switch = Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6")
        if switch.exists():
            switch.write_text("1")


def _worker(worker: Callable[[Inside], int], inside: Inside) -> int:
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)
    try:
        return worker(inside)
    except VnftwinError as error:
        print(f"vnftwin: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 0


def _interrupt(*_signal: object) -> None:
    """The first wish to end is granted; the cleaning up that follows is not to be interrupted."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
