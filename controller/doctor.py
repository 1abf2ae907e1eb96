"""`vnftwin doctor`: what this machine has and lacks, each lack with the command that mends it."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from controller.checkpoint import MEND, checkpoint_lack

APT = "apt-get install -y --no-install-recommends"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `needed`: `vnftwin run` cannot work without it."""

    name: str
    ok: bool
    found: str
    mend: str = ""
    needed: bool = True


def examine() -> list[Finding]:
    """Everything that can be missing, in the order in which it is needed."""
    return [*(check() for check in _CHECKS), *_emulator()]


def _python() -> Finding:
    ok = sys.version_info >= (3, 11)
    return Finding("Python", ok, sys.version.split()[0], f"{APT} python3 (3.11 or newer)")


def _root() -> Finding:
    return Finding("root", os.geteuid() == 0, f"uid {os.geteuid()}", "run with sudo")


def _ryu() -> Finding:
    try:
        found = f"ryu {importlib.metadata.version('ryu')}, eventlet {importlib.metadata.version('eventlet')}"
        return Finding("Ryu", True, found)
    except importlib.metadata.PackageNotFoundError as lack:
        return Finding("Ryu", False, f"{lack.name} is not installed", "make setup")


def _program(name: str, package: str, *version: str) -> Callable[[], Finding]:
    def check() -> Finding:
        where = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
        found = _first_line([where, *version]) if where and version else (where or "absent")
        return Finding(name, where is not None, found, f"{APT} {package}")

    return check


def _emulator() -> list[Finding]:
    """What the emulator says of this machine; asked of its own process, since nothing here imports it."""
    done = subprocess.run([sys.executable, "-m", "mininet_topos", "capabilities"], capture_output=True, text=True)
    if done.returncode:
        word = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        return [Finding("emulator", False, word, f"{APT} mininet openvswitch-switch")]
    return [_capability(*line.split(":", 1)) for line in done.stdout.splitlines() if ":" in line]


def _capability(name: str, found: str) -> Finding:
    """What the emulator does here; each has a stand-in, so none of them keeps a run from working."""
    return Finding(name.strip(), True, found.strip(), needed=False)


def _cgroups() -> Finding:
    v2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    v1 = Path("/sys/fs/cgroup/cpu").exists()
    found = "v2" if v2 else "v1" if v1 else "not mounted"
    return Finding("control groups", v1 or v2, found, "mount -t cgroup2 none /sys/fs/cgroup")


def _checkpoints() -> Finding:
    """By a real dump and restore of a process with sockets; a VNF that hands its state over needs none."""
    lack = checkpoint_lack()
    return Finding(
        "checkpoints", not lack, lack or "a process with sockets was dumped and restored", MEND, needed=False
    )


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "does not answer"
    return (done.stdout or done.stderr).strip().splitlines()[0] if (done.stdout or done.stderr).strip() else "present"


_CHECKS: tuple[Callable[[], Finding], ...] = (
    _python,
    _root,
    _ryu,
    _program("mnexec", "mininet"),
    _program("ovs-vswitchd", "openvswitch-switch", "--version"),
    _program("dockerd", "docker.io", "--version"),
    _program("gcc", "gcc libc6-dev libsodium-dev make", "--version"),
    _program("nsenter", "util-linux"),
    _cgroups,
    _checkpoints,
)
