"""A container engine of the test bed's own: containerd and dockerd under one folder, ended with all they left.

Runs in the caller's namespaces, as the child of `unshare -n -m -p -f --mount-proc` too. Nothing of an engine that
the machine may have is touched.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from mininet_topos.server_cgroups import CgroupTree, ServerCgroups, step_back
from twin.errors import EnvironmentLack

__all__ = ["PrivateDocker", "ServerCgroups", "engine_available"]

_DAEMONS = ("dockerd", "containerd", "containerd-shim-runc-v2", "runc")
_MEND = "apt-get install -y --no-install-recommends docker.io"
_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 20.0
_POLL_S = 0.02
_MAX_SOCKET_PATH = 107  # what a unix socket's address holds
_CONTAINERD_CONFIG = """\
version = 2
root = "{root}/containerd"
state = "{root}/containerd-state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = "{root}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{root}/opt"
"""


def engine_available() -> str:
    """Why no private engine can be started here, "" when one can."""
    missing = [name for name in _DAEMONS if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} not installed ({_MEND})"
    if os.geteuid() != 0:
        return "not root"
    if CgroupTree.mounts() == ():
        return "no cgroup hierarchy is mounted at /sys/fs/cgroup"
    return ""


class PrivateDocker:
    """One private engine under `run_dir`. Use as a context manager; `url` is what a controller connects to.

    Containers without a parent of their own get one of ours, so that no cgroup outlives the engine.
    """

    def __init__(self, run_dir: Path) -> None:
        self.root = run_dir.resolve() / "engine"
        self.socket = self.root / "docker.sock"
        self.url = f"unix://{self.socket}"
        self._cgroups = CgroupTree("vnftwin-engine-" + sha256(str(self.root).encode()).hexdigest()[:10])
        self._daemons: list[subprocess.Popen[bytes]] = []
        self._cpu_group: Path | None = None

    def __enter__(self) -> PrivateDocker:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when the engine answers. EnvironmentLack, with nothing left behind, when it does not come up."""
        if reason := engine_available():
            raise EnvironmentLack(f"no container engine can be started: {reason}", _MEND)
        if len(str(self.root / "containerd.sock.ttrpc")) > _MAX_SOCKET_PATH:
            raise EnvironmentLack(f"path too long for a socket: {self.socket}", "choose a shorter run folder")
        sweep(self.root)  # what a run that was killed left in the same folder
        self.root.mkdir(parents=True)
        self._cgroups.create()
        self._cpu_group = self._cgroups.within("daemons")
        try:
            self._start_containerd()
            self._start_dockerd()
        except BaseException:
            self.stop()
            raise
        if self._cpu_group is not None:  # a container's start is a dozen processes that packets must not wait for
            step_back(self._cpu_group)

    def stop(self) -> None:
        """Ends containers, both daemons and their shims, then removes mounts, cgroups and files."""
        for daemon in reversed(self._daemons):
            _end(daemon)
        self._daemons.clear()
        sweep(self.root)
        self._cgroups.remove()

    def _start_containerd(self) -> None:
        config = self.root / "containerd.toml"
        config.write_text(_CONTAINERD_CONFIG.format(root=self.root))
        self._spawn(["containerd", "--config", str(config)])
        self._await_socket(self.root / "containerd.sock")

    def _start_dockerd(self) -> None:
        self._spawn([
            "dockerd", "--containerd", str(self.root / "containerd.sock"), "-H", self.url,
            "--data-root", str(self.root / "data"), "--exec-root", str(self.root / "exec"),
            "--pidfile", str(self.root / "dockerd.pid"), "--config-file", str(self._empty_config()),
            "--iptables=false", "--ip6tables=false", "--bridge=none", "--experimental", "--shutdown-timeout", "5",
            "--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", "/" + self._cgroups.name,
        ])  # fmt: skip
        self._await_socket(self.socket)

    def _empty_config(self) -> Path:
        """Instead of the machine's own /etc/docker/daemon.json, whose settings may contradict our flags."""
        config = self.root / "daemon.json"
        config.write_text("{}")
        return config

    def _spawn(self, command: Sequence[str]) -> None:
        with (self.root / f"{command[0]}.log").open("wb") as log:
            self._daemons.append(
                subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                    preexec_fn=self._enter_group,
                )
            )  # fmt: skip

    def _enter_group(self) -> None:
        if self._cpu_group is not None:
            (self._cpu_group / "cgroup.procs").write_text("0")  # 0: the process that writes

    def _await_socket(self, path: Path) -> None:
        """dockerd makes its socket early but answers late: an answer is asked for, not the file."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not _accepts(path):
            name = str(self._daemons[-1].args[0])  # type: ignore[index]
            if self._daemons[-1].poll() is not None or time.monotonic() > deadline:
                raise EnvironmentLack(f"{name} did not start: {self._complaint(name)}", f"see {self.root}/{name}.log")
            time.sleep(_POLL_S)

    def _complaint(self, name: str) -> str:
        lines = (self.root / f"{name}.log").read_text(errors="replace").strip().splitlines()
        return lines[-1][-300:] if lines else "without a word"


def sweep(root: Path) -> None:
    """Ends the processes of an engine below `root`, unmounts and deletes it. Does nothing where there is none."""
    for pid in _processes_of(root):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while list(_processes_of(root)) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    for mount in _mounts_below(root):
        subprocess.run(["umount", "-l", mount], capture_output=True, check=False)
    shutil.rmtree(root, ignore_errors=True)


def _processes_of(root: Path) -> Iterator[int]:
    """Daemons and shims whose command line names a file below `root`; nobody else's has such an argument."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            ours = any(f"{root}/" in word for word in words[1:])
            running = (folder / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
            if ours and running and Path(words[0]).name in _DAEMONS:
                yield int(folder.name)


def _mounts_below(root: Path) -> list[str]:
    """Mount points below `root`, the deepest first."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return sorted((point for point in points if point.startswith(f"{root}/")), key=len, reverse=True)


def _accepts(path: Path) -> bool:
    """dockerd answers HTTP; containerd's socket is served once it accepts."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(2.0)
        try:
            connection.connect(str(path))
            if path.name != "docker.sock":
                return True
            connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in connection.recv(256)
        except OSError:
            return False


def _end(daemon: subprocess.Popen[bytes]) -> None:
    if daemon.poll() is None:
        daemon.terminate()
    try:
        daemon.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
