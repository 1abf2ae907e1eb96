"""The veth pairs of VNF instances: made, moved into an instance's namespace and back, with the programs of iproute2.

A pair's near end stays in the caller's namespace, as a port of its switch. Its far end is either *parked*, down, in a
namespace of nobody's, or it is the `eth0` of an instance.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from controller.containers import ContainerError

INTERFACE = "eth0"
NEAR, _FAR = "vt", "vp"
_COMMAND_TIMEOUT_S = 15
_NO_OFFLOADS = "tx off rx off tso off gso off gro off"
# In the instance's namespace: no IPv6 chatter, then up.
_PREPARE = f"""
for knob in all default; do echo 1 > /proc/sys/net/ipv6/conf/$knob/disable_ipv6; done 2> /dev/null
ip link set {INTERFACE} up
"""
# There, too; $1 is the address that the interface must have to be the one that is meant, $2 a namespace.
_IF_OURS = f"""ip -o link show {INTERFACE} | grep -qF "$1" """
_BRING_BACK = f"""{_IF_OURS} && ip link set {INTERFACE} netns "$2" name "$3" """
_DELETE = f"{_IF_OURS} && ip link del {INTERFACE}"


class Parking:
    """A network namespace with nobody in it, for the far ends of pairs that serve no instance. It ends with its owner.

    Not the switch daemon's own namespace: the daemon reads all interfaces there whenever one comes or goes, and waits
    with that, and with every packet, until the kernel has finished moving this one: 20 to 30 ms (docs/vnf.md).
    """

    def __init__(self) -> None:
        self._parked: set[str] = set()
        self._made: dict[str, int] = {}  # one descriptor; a dict, since its `setdefault` is one atomic operation

    def holds(self, near: str) -> bool:
        """Is the far end of a pair here?"""
        return near in self._parked and exists(near)

    def make_pair(self, near: str) -> None:
        """A new pair, parked. Checksums are whole: a user-space VNF would pass half ones on."""
        far = _far(near)
        run(["ip", "link", "add", near, "type", "veth", "peer", "name", far])
        run(["ethtool", "-K", far, *_NO_OFFLOADS.split()])
        run(["ip", "link", "set", far, "netns", self._path()])
        run(["ip", "link", "set", near, "up"])
        self._parked.add(near)

    def plug_in(self, near: str, pid: int, mac: str) -> None:
        """Moves the far end to where the process is, as `eth0` with an address, and brings it up."""
        move = ["ip", "link", "set", _far(near), "netns", str(pid), "name", INTERFACE, "address", mac]
        run(["nsenter", f"--net={self._path()}", *move])
        self._parked.discard(near)
        run(["nsenter", "-t", str(pid), "-n", "sh", "-c", _PREPARE])

    def bring_back(self, near: str, pid: int, mac: str) -> bool:
        """Parks the far end, which falls as it changes namespaces. False where there is none with that address."""
        if not _inside(pid, _BRING_BACK, mac, self._path(), _far(near)) or not exists(near):
            return False
        self._parked.add(near)
        return True

    def delete_pair(self, near: str) -> None:
        """No error for a pair that is gone, or vanishes with its namespace at this very moment."""
        self._parked.discard(near)
        if exists(near):
            with suppress(ContainerError):
                run(["ip", "link", "del", near])

    def _path(self) -> str:
        if not self._made:
            fresh = _empty_namespace()
            if self._made.setdefault("descriptor", fresh) != fresh:
                os.close(fresh)  # another thread was faster
        return f"/proc/{os.getpid()}/fd/{self._made['descriptor']}"


def _empty_namespace() -> int:
    """A descriptor that keeps a new network namespace: made by a process that has ended, since threads share ours."""
    maker = ["unshare", "--net", "sh", "-c", "echo made; read _"]
    with subprocess.Popen(maker, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise ContainerError("no network namespace could be made: that needs root")
        return os.open(f"/proc/{process.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def exists(name: str) -> bool:
    """Asked of the caller's namespace; /sys would show the one it was mounted in."""
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


def has_interface(pid: int) -> bool:
    """Is there an interface for a VNF in a process's namespace?"""
    try:
        return f"{INTERFACE}:" in Path(f"/proc/{pid}/net/dev").read_text()
    except OSError:
        return False


def delete_inside(pid: int, mac: str) -> None:
    """Deletes a pair by its far end, where it has that address."""
    _inside(pid, _DELETE, mac)


def _inside(pid: int, script: str, *arguments: str) -> bool:
    """Runs a script in a process's namespace; False where it fails, or the process is gone."""
    if pid <= 0:
        return False
    try:
        run(["nsenter", "-t", str(pid), "-n", "sh", "-c", script, "sh", *arguments])
    except ContainerError:
        return False
    return True


def run(command: Sequence[str]) -> str:
    """Output of a command; ContainerError with its first line of complaint."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ContainerError(f"{command[0]}: {error}") from None
    if result.returncode != 0:
        lines = (result.stderr.strip() or f"exit code {result.returncode}").splitlines()
        raise ContainerError(f"{command[0]}: {lines[0]}")
    return result.stdout


def _far(near: str) -> str:
    """What the far end is called while it is parked."""
    return _FAR + near.removeprefix(NEAR)
