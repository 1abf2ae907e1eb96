"""Checkpoint and restore of processes by CRIU, and the probe that tells whether it really works here (docs/moves.md).

`criu check` is not asked: versions that pass it cannot dump a socket. The probe dumps and restores a process that
holds a counter and two sockets, and looks whether it counts on. Source: ours.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from controller.containers import ContainerError

MEND = "install CRIU 4.2 or newer (apt-get install criu where Debian is newer than 13, else build it: https://criu.org)"
_NAMESPACE = "vnftwin-net"  # the key by which an image names the network namespace that it is restored into
_TIMEOUT_S = 60.0
_PROBE_S = 5.0
_POLL_S = 0.005
_NOISE = ("RLIMIT_NOFILE", "exited, status", "FAILED", "failed with")  # errors that follow from others, or from nothing
# Counts only what its packet socket sees of what its UDP socket sends.
_COUNTER = """
import socket, sys, time
seen = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
seen.bind(("lo", 0))
sent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sent.bind(("127.0.0.1", 0))
count = 0
with open(sys.argv[1], "r+b", buffering=0) as out:
    while True:
        sent.sendto(b"probe", sent.getsockname())
        sent.recv(16)
        seen.recv(64)
        count += 1
        out.seek(0)
        out.write(b"%020d" % count)
        time.sleep(0.005)
"""


class CheckpointError(ContainerError):
    """CRIU is absent or refused; the message is its reason in one line."""


@dataclass(frozen=True, slots=True)
class Criu:
    """The program at a path. Needs root and a loopback that is up."""

    program: str

    def dump(self, pid: int, images: Path) -> None:
        """Writes the process to the folder `images` and ends it. Its network namespace is not part of that."""
        network = f"net[{os.stat(f'/proc/{pid}/ns/net').st_ino}]:{_NAMESPACE}"
        images.mkdir(parents=True, exist_ok=True)
        self._run(images, "dump", "--tree", str(pid), "--external", network)

    def restore(self, images: Path, namespace_pid: int) -> int:
        """Brings a dumped process back as a child of the caller, in the network namespace of `namespace_pid`.

        It gets the number that it had, which is returned.
        """
        pid_file = images / "pid"
        pid_file.unlink(missing_ok=True)
        network = os.open(f"/proc/{namespace_pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            joined = ["--inherit-fd", f"fd[{network}]:{_NAMESPACE}", "--pidfile", str(pid_file)]
            self._run(images, "restore", "--restore-detached", "--restore-sibling", *joined, keep=network)
        finally:
            os.close(network)
        return int(pid_file.read_text())

    def version(self) -> str:
        """`4.2.1`, or `?` where it does not tell."""
        done = subprocess.run([self.program, "--version"], capture_output=True, text=True, check=False)
        found = re.search(r"[0-9][0-9.]+", done.stdout)
        return found.group() if found else "?"

    def _run(self, images: Path, action: str, *options: str, keep: int | None = None) -> None:
        log = images / f"{action}.log"
        common = ["--images-dir", str(images), "--log-file", log.name, "-v2", "--manage-cgroups=ignore"]
        command = [self.program, action, *options, *common]
        fds = () if keep is None else (keep,)
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_TIMEOUT_S, pass_fds=fds, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CheckpointError(f"criu {action}: {error}") from None
        if done.returncode != 0:
            said = log.read_text(errors="replace") if log.exists() else done.stderr
            raise CheckpointError(f"criu {self.version()}: {complaint(said) or f'{action} failed'}")


def find_criu() -> Criu | None:
    """The CRIU of this machine, in the search path or where the system's programs are."""
    where = shutil.which("criu") or shutil.which("criu", path="/usr/local/sbin:/usr/sbin:/sbin")
    return Criu(where) if where else None


def complaint(log: str) -> str:
    """The cause in a log of CRIU's: its first error that does not merely follow from another; '' for none."""
    errors = re.findall(r"Error \([^)]*\): *(.*)", log)
    return next((" ".join(e.split())[:200] for e in errors if not any(word in e for word in _NOISE)), "")


def checkpoint_lack() -> str:
    """Why processes cannot be checkpointed here, in one line; '' where they can. Tried once for each program."""
    criu = find_criu()
    return "criu is not installed" if criu is None else probe(criu)


@cache
def probe(criu: Criu) -> str:
    """Really dumps and restores a process that counts packets through its sockets; '' when it counts on."""
    if os.geteuid() != 0:
        return "checkpoints need root"
    with tempfile.TemporaryDirectory(prefix="vnftwin-criu-") as folder:
        try:
            _try_out(criu, Path(folder))
        except (CheckpointError, OSError) as error:
            return str(error)
    return ""


def _try_out(criu: Criu, folder: Path) -> None:
    counter = folder / "count"
    counter.write_bytes(b"0" * 20)
    program = [sys.executable, "-I", "-S", "-c", _COUNTER, str(counter)]
    command = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "probe", *program]
    pids: set[int] = set()
    with (
        subprocess.Popen(["unshare", "--net", "sh", "-c", "ip link set lo up; exec sleep 60"]) as place,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
                         stdout=subprocess.DEVNULL, start_new_session=True) as process,
    ):  # fmt: skip
        try:
            _await_change(counter, since=0, what="the probe's process did not count")
            criu.dump(process.pid, folder / "images")
            process.wait(_PROBE_S)
            held = int(counter.read_bytes())
            pids.add(criu.restore(folder / "images", place.pid))
            _await_change(counter, since=held, what="the restored process did not count on")
        finally:
            process.kill()
            place.kill()
            for pid in pids:
                end_child(pid)


def _await_change(counter: Path, *, since: int, what: str) -> None:
    """Until the count is another; one that is less is that of a process that began anew."""
    deadline_s = time.monotonic() + _PROBE_S
    while (count := int(counter.read_bytes())) == since and time.monotonic() < deadline_s:
        time.sleep(_POLL_S)
    if count <= since:
        raise CheckpointError(what)


def end_child(pid: int) -> None:
    """Kills a restored process and takes its number back; no error where it is gone."""
    with suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
