"""The few Linux calls that Python 3.11 does not have, through the C library: namespaces, mounts, prctl."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
SO_TIMESTAMPNS = 35  # also the type of the control message it brings
SO_RCVBUFFORCE = 33

_PR_SET_PDEATHSIG = 1
_PR_SET_TIMERSLACK = 29
_TUNSETIFF = 0x400454CA
_TUNSETCARRIER = 0x400454E2
_NICE = -15
_IFF_TAP_NO_PI = 0x0002 | 0x1000
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Moves this process into new namespaces (with CLONE_NEWPID: its children to come). OSError."""
    _check(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str, flags: int) -> None:
    """mount(2) without data. OSError."""
    _check(_libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), None), "mount")


def set_parent_death_signal(number: signal.Signals) -> None:
    """This process gets the signal when the one that forked it ends, however that ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0), "prctl")


def set_timer_slack(slack_ns: int) -> None:
    """How late the kernel may wake this thread to save energy; 50,000 ns unless set."""
    _check(_libc.prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(slack_ns), 0, 0, 0), "prctl")


def go_first() -> None:
    """This thread runs before ordinary programs: what emulates wires must not wait for what happens to run beside it.

    For programs that need a fraction of a core. Real-time scheduling, not passed on to children and other threads;
    where the machine refuses it, niceness of the session's group (`autogroup`: there, plain niceness counts only
    within a session) and of the process; where it refuses that, nothing.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except OSError:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, _NICE)
            Path("/proc/self/autogroup").write_text(str(_NICE))


@contextlib.contextmanager
def network_namespace(pid: int) -> Iterator[None]:
    """Inside, this thread is in the network namespace of process `pid`: sockets made there stay there."""
    with Path("/proc/self/ns/net").open() as home, Path(f"/proc/{pid}/ns/net").open() as there:
        _check(_libc.setns(there.fileno(), CLONE_NEWNET), "setns")
        try:
            yield
        finally:
            _check(_libc.setns(home.fileno(), CLONE_NEWNET), "setns")


def open_tap(name: str) -> int:
    """A descriptor of a new TAP interface, non-blocking; the interface lives as long as the descriptor. OSError."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP_NO_PI))
    except OSError:
        os.close(fd)
        raise
    return fd


def set_tap_carrier(fd: int, *, up: bool) -> None:
    """Plugs a TAP's cable in or out, as the switch sees it (Linux 5.0). OSError."""
    fcntl.ioctl(fd, _TUNSETCARRIER, struct.pack("i", int(up)))


def kernel_time_ns(control: list[tuple[int, int, bytes]]) -> int:
    """When the kernel received a packet (CLOCK_REALTIME, ns), out of its control messages; 0 if it does not say."""
    for level, kind, value in control:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("qq", value[:16])
            return int(seconds * 1_000_000_000 + nanoseconds)
    return 0
