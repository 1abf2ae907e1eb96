"""`vnftwin doctor`: what this machine has and lacks, each lack with the command that mends it.

What `vnftwin run` cannot work without is *needed*; the rest has a stand-in, or serves one command only. Each thing is
tried rather than looked up where that is possible: a library linked, a control group made, a process restored.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from controller.checkpoint import MEND, checkpoint_lack

APT = "apt-get install -y --no-install-recommends"
REST_PORT, OPENFLOW_PORT = 8080, 6653
DISK_MB = 500  # the engine's files, the VNFs' image, journals and reports of a run
COMPILER = f"{APT} gcc libc6-dev libsodium-dev make"
PYTHONS = "3.11 to 3.13"
_SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")  # not in everybody's PATH
_CGROUPS = Path("/sys/fs/cgroup")
_BEST = ("kernel", "netem", "docker")  # what the emulator's own account begins with where it has no stand-in
_LINK_SODIUM = "#include <sodium.h>\nint main(void) { return sodium_init(); }\n"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `needed`: `vnftwin run` cannot work without it."""

    name: str
    ok: bool
    found: str
    mend: str = ""
    needed: bool = True


def examine(cgroups: Path = _CGROUPS) -> list[Finding]:
    """Everything that can be missing, in the order in which it is needed."""
    return [
        *(check() for check in _CHECKS),
        _control_groups(cgroups),
        *_emulator(),
        _port(REST_PORT, "REST and page", f"stop what listens there, or use --listen 127.0.0.1:{REST_PORT + 1}"),
        _port(OPENFLOW_PORT, "switches of a lab", "stop what listens there, or use --openflow", needed=False),
        _disk(Path(tempfile.gettempdir())),
        _checkpoints(),
        _optional("prometheus", "prometheus", "scrapes the metrics"),
        _optional("chromium", "chromium", "tests of the page"),
    ]


# ---- what is installed for Python


def _python() -> Finding:
    ok = (3, 11) <= sys.version_info[:2] < (3, 14)
    return Finding("Python", ok, sys.version.split()[0], f"{APT} python3.11 ({PYTHONS}), then make setup")


def _packages() -> Finding:
    """All that the distribution requires is installed; torch and ryu are the ones that fail most."""
    missing = [name for name in _required() if not _version(name)]
    told = ", ".join(f"{name} {_version(name)}" for name in ("ryu", "eventlet", "torch") if _version(name))
    return Finding("Python packages", not missing, f"lacks {', '.join(missing)}" if missing else told, "make setup")


def _required() -> Iterator[str]:
    try:
        requirements = importlib.metadata.requires("vnftwin") or []
    except importlib.metadata.PackageNotFoundError:
        yield "vnftwin"  # run from a tree that was not installed
        return
    for requirement in requirements:
        if ";" not in requirement:
            yield re.split(r"[^A-Za-z0-9._-]", requirement)[0]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _ryu() -> Finding:
    """Imported in a process of its own: as Ryu comes it does not start with a maintained eventlet, ours is repaired."""
    done = _run([sys.executable, "-W", "ignore", "-c", "import controller.ryu_compat"])
    told = "starts, repaired" if done is not None and done.returncode == 0 else _last_line(done)
    return Finding("Ryu", told == "starts, repaired", told, "make setup")


def _torch() -> Finding:
    """Found, not imported: that takes seconds."""
    ok = importlib.util.find_spec("torch") is not None
    return Finding("PyTorch", ok, _version("torch") or "absent", "make setup")


# ---- what is installed for the system


def _root() -> Finding:
    return Finding("root", os.geteuid() == 0, f"uid {os.geteuid()}", "run with sudo")


def _namespaces() -> Finding:
    """A container without privileges, and some hardened kernels, have none."""
    done = _run(["unshare", "-n", "-m", "-p", "-f", "true"])
    ok = done is not None and done.returncode == 0
    return Finding("namespaces", ok, "can be made" if ok else _last_line(done), "run on a host, or privileged; as root")


def _program(name: str, package: str, *version: str, needed: bool = True) -> Callable[[], Finding]:
    def check() -> Finding:
        where = _which(name)
        found = _first_line([where, *version]) if where and version else (where or "absent")
        return Finding(name, bool(where), found, f"{APT} {package}", needed)

    return check


def _compiler() -> Finding:
    """Compiles and links what every VNF is linked with, statically."""
    done = _run(["gcc", "-static", "-x", "c", "-o", "/dev/null", "-", "-lsodium"], text=_LINK_SODIUM)
    ok = done is not None and done.returncode == 0 and bool(_which("make"))
    lack = "no make" if done is not None and done.returncode == 0 else _last_line(done)
    return Finding("gcc, libsodium", ok, _first_line(["gcc", "--version"]) if ok else lack, COMPILER)


def _optional(program: str, package: str, use: str) -> Finding:
    where = _which(program)
    return Finding(program, bool(where), where or f"absent ({use})", f"{APT} {package}", needed=False)


def _which(program: str) -> str:
    folders = os.pathsep.join((os.environ.get("PATH", ""), *_SYSTEM_FOLDERS))
    return shutil.which(program, path=folders) or ""


# ---- what the kernel gives


def _control_groups(root: Path) -> Finding:
    """Servers are emulated by groups with limits: one is made and removed, of the version that is mounted."""
    v2 = (root / "cgroup.controllers").exists()
    folder = root if v2 else root / "cpu"
    if not folder.exists():
        return Finding("control groups", False, "not mounted", "mount -t cgroup2 none /sys/fs/cgroup")
    probe = folder / f"vnftwin-doctor-{os.getpid()}"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        mend = "run as root, and in a container with --privileged or /sys/fs/cgroup mounted writable"
        return Finding("control groups", False, f"version {1 + v2}, not writable: {error.strerror}", mend)
    return Finding("control groups", True, f"version {1 + v2}, writable")


def _emulator() -> list[Finding]:
    """What the emulator says of this machine; asked of its own process, since nothing here imports it."""
    if os.geteuid() != 0:
        return []  # nothing can be tried; that root is missing is told already
    done = _run([sys.executable, "-m", "mininet_topos", "capabilities"])
    if done is None or done.returncode:
        return [Finding("emulator", False, _last_line(done), f"{APT} mininet openvswitch-switch iproute2")]
    return [_capability(*line.split(":", 1)) for line in done.stdout.splitlines() if ":" in line]


def _capability(name: str, found: str) -> Finding:
    """What the emulator does here; each has a stand-in, so none of them keeps a run from working."""
    mends = {
        "datapath": "modprobe openvswitch (a kernel with that module forwards faster)",
        "link emulation": "modprobe sch_netem (a kernel with that module delays more exactly)",
        "container engine": f"{APT} docker.io",
    }
    ok = found.split()[0].rstrip(",;") in _BEST
    return Finding(name.strip(), ok, found.strip(), mends.get(name.strip(), ""), needed=False)


def _port(port: int, use: str, mend: str, *, needed: bool = True) -> Finding:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            return Finding(f"port {port}", False, f"{error.strerror} ({use})", mend, needed)
    return Finding(f"port {port}", True, f"free ({use})", needed=needed)


def _disk(folder: Path) -> Finding:
    free_mb = shutil.disk_usage(folder).free >> 20
    return Finding("disk", free_mb >= DISK_MB, f"{free_mb} MB free at {folder}", f"free {DISK_MB} MB, or set TMPDIR")


def _checkpoints() -> Finding:
    """By a real dump and restore of a process with sockets; a VNF that hands its state over needs none."""
    lack = checkpoint_lack()
    found = lack or "a process with sockets was dumped and restored"
    return Finding("checkpoints", not lack, found, MEND, needed=False)


# ---- programs that are asked


def _run(command: Sequence[str], *, text: str = "") -> subprocess.CompletedProcess[str] | None:
    """None where it cannot be started or does not end."""
    try:
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None


def _first_line(command: Sequence[str]) -> str:
    done = _run(command)
    lines = (done.stdout or done.stderr).strip().splitlines() if done else []
    return lines[0] if lines else "does not answer"


def _last_line(done: subprocess.CompletedProcess[str] | None) -> str:
    lines = done.stderr.strip().splitlines() if done else []
    return lines[-1] if lines else "does not answer"


_CHECKS: tuple[Callable[[], Finding], ...] = (
    _python,
    _packages,
    _ryu,
    _torch,
    _root,
    _namespaces,
    _program("mnexec", "mininet"),
    _program("ovs-vswitchd", "openvswitch-switch", "--version"),
    _program("dockerd", "docker.io", "--version", needed=False),  # processes in namespaces stand in
    _compiler,
    _program("nsenter", "util-linux"),
    _program("ip", "iproute2", "-V"),
    _program("ethtool", "ethtool", "--version"),
)
