"""VNF instances as processes, where no container engine can run: the same binary in a network namespace of its own.

Each runs with CAP_NET_RAW only, in a control group below its server's (made by the emulator or the administrator),
and is recorded in `control_root/NAME/instance.json`, by which a restarted controller adopts it. What a container has
besides and this has not: a root file system and a PID namespace of its own (docs/vnf.md, "Without an engine").
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from controller.cgroups import Controller, find_hierarchy, limit_memory, remove_group
from controller.containers import LABEL, ContainerError, Instance, InstanceSpec, ServerUsage, Usage
from controller.control_socket import SOCKET_NAME, ask_socket, is_ready
from controller.images import ensure_binary
from controller.usage import UsageReader

_RECORD, _CONFIG, _LOG = "instance.json", "vnf.conf", "log"
_START_TIMEOUT_S = 5.0
_POLL_S = 0.002
_JOINED: tuple[Controller, ...] = ("cpu", "cpuacct", "memory", "pids")
# In a new network namespace with one capability: joins the control groups given up to "--", proves that the server
# lets processes start (a powered-off one refuses the fork), and becomes the VNF. The groups are joined last, so that
# little of the start is paid from the server's quota.
_ISOLATE = ("unshare", "--net", "--", "setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all,+net_raw")
_JOIN = """
while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs" || exit 97; shift; done; shift
( : ) || exit 98
exec "$@"
"""


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """What is kept of an instance. `started` tells its process from a later one with the same number.

    A `hollow` one's process only holds its place.
    """

    pid: int
    started: str
    vnf: str
    server: str
    groups: Sequence[str]
    labels: Mapping[str, str]
    hollow: bool = False


class ProcessEngine:
    """Implements `controller.containers.ContainerEngine`; may be called from several threads at once."""

    def __init__(
        self, run_id: str, servers: Mapping[str, str], control_root: Path, *, binary: Path | None = None
    ) -> None:
        """`servers` maps each server to its control group ("" for none: then nothing is capped)."""
        self._run_id, self._servers, self._control_root = run_id, dict(servers), control_root.resolve()
        self._binary = binary or ensure_binary()
        self._usage = UsageReader(servers, own_groups=False)
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def descriptor_lack(self) -> str:
        """'': all instances are on this host."""
        return ""

    def close(self) -> None:
        """Nothing is held open; instances go on."""

    def start(self, spec: InstanceSpec) -> Instance:
        """Returns when the VNF answers, so that its namespace is its own. The image is not used."""
        folder = self._new_folder(spec)
        groups: list[Path] = []
        process = None
        try:
            groups += self._make_groups(spec)
            vnf = [str(self._binary), "--config", _CONFIG, "--control", SOCKET_NAME]  # relative: paths may be long
            vnf += ["--standby"] if spec.standby else []
            process = self._launch(spec, folder, groups, vnf)
            self._await_answer(spec.name, folder, process)
            return self._record(spec, folder, process.pid, groups)
        except (OSError, ContainerError) as error:
            self._undo(process, folder, groups)
            if isinstance(error, ContainerError):
                raise
            raise ContainerError(f"{spec.name}: start: {error}") from None

    def wait_ready(self, instance: Instance, *, timeout_s: float) -> None:
        """Polls health; an instance that has ended is told at once, with its last words."""
        deadline = time.monotonic() + timeout_s
        while True:
            with suppress(ContainerError):
                if is_ready(self.ask(instance, "health")):
                    return
            if not self._find(instance.name).running:
                raise ContainerError(f"{instance.name}: ended: {_last_words(self._control_root / instance.name)}")
            if time.monotonic() > deadline:
                raise ContainerError(f"{instance.name}: not ready within {timeout_s:g} s")
            time.sleep(_POLL_S)

    def stop(self, instance_id: str, *, timeout_s: float) -> None:
        """Ends it by SIGTERM, by SIGKILL after `timeout_s`, and removes what was kept of it."""
        folder = self._control_root / instance_id
        record = self._read(folder)
        if record is None:
            return
        self._end(record, timeout_s)
        self._usage.forget(instance_id, record.server)
        for group in record.groups:
            remove_group(Path(group))
        shutil.rmtree(folder, ignore_errors=True)

    def instances(self) -> Sequence[Instance]:
        """All recorded instances of this run, in the order of their names."""
        found = []
        for folder in sorted(self._control_root.glob("*")):
            record = self._read(folder)
            if record is not None and record.labels.get(LABEL + "run") == self._run_id:
                found.append(self._instance(folder.name, record))
        return found

    def remove_half_started(self) -> None:
        """Processes that were launched and not recorded: their working folder tells them."""
        for folder in self._control_root.glob("*"):
            if self._read(folder) is None:
                for pid in _working_in(folder):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                shutil.rmtree(folder, ignore_errors=True)

    def usage(self, instance: Instance) -> Usage:
        """From control groups and /proc."""
        return self._usage.instance(instance)

    def server_usage(self, server: str) -> ServerUsage:
        """All VNFs of one server together."""
        return self._usage.server(server, () if self._servers.get(server) else self.instances())

    def ask(self, instance: Instance, request: str, *, pass_fd: int | None = None) -> Mapping[str, object]:
        """Through the control socket."""
        return ask_socket(self._control_root / instance.name, instance.name, request, pass_fd=pass_fd)

    def _make_groups(self, spec: InstanceSpec) -> list[Path]:
        """One group per instance below its server's, in every hierarchy; [] for a server without."""
        parent = self._servers[spec.server].lstrip("/")
        if not parent:
            return []
        found = {h.mount: h for h in (find_hierarchy(name) for name in _JOINED) if h is not None}
        groups = []
        for mount, hierarchy in found.items():
            if not (mount / parent).is_dir():
                raise ContainerError(f"{spec.name}: server {spec.server} has no control group {mount / parent}")
            group = mount / parent / spec.name
            group.mkdir(exist_ok=True)
            groups.append(group)
            limit_memory(hierarchy, group, spec.memory_mb)
        return groups

    def _new_folder(self, spec: InstanceSpec) -> Path:
        if spec.server not in self._servers:
            raise ContainerError(f"{spec.name}: unknown server: {spec.server}")
        folder = self._control_root / spec.name
        if self._read(folder) is not None:
            raise ContainerError(f"{spec.name}: an instance of that name exists")
        return folder

    def _launch(
        self, spec: InstanceSpec, folder: Path, groups: Sequence[Path], program: Sequence[str]
    ) -> subprocess.Popen[bytes]:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _CONFIG).write_text("\n".join(spec.config) + "\n")
        command = [*_ISOLATE, "--", "sh", "-c", _JOIN, "vnf-launch", *map(str, groups), "--", *program]
        with (folder / _LOG).open("wb") as log:
            # A session of its own: a Ctrl-C at the terminal is the controller's to handle.
            process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._children[process.pid] = process
        return process

    def _await_answer(self, name: str, folder: Path, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            with suppress(ContainerError):
                ask_socket(folder, name, "health")
                return
            if process.poll() is not None:
                raise ContainerError(f"{name}: ended: {_last_words(folder)}")
            time.sleep(_POLL_S)
        raise ContainerError(f"{name}: no answer within {_START_TIMEOUT_S:g} s of its start")

    def _record(
        self, spec: InstanceSpec, folder: Path, pid: int, groups: Sequence[Path], *, hollow: bool = False
    ) -> Instance:
        own = {"run": self._run_id, "vnf": spec.vnf, "function": spec.function, "server": spec.server}
        labels = {**spec.labels, **{LABEL + key: value for key, value in own.items()}}
        record = InstanceRecord(pid, started(pid), spec.vnf, spec.server, [str(g) for g in groups], labels, hollow)
        self._write(folder, record)
        return self._instance(spec.name, record)

    def _write(self, folder: Path, record: InstanceRecord) -> None:
        scratch = folder / (_RECORD + ".new")
        scratch.write_text(json.dumps(asdict(record)))
        scratch.replace(folder / _RECORD)

    def _read(self, folder: Path) -> InstanceRecord | None:
        try:
            return InstanceRecord(**json.loads((folder / _RECORD).read_text()))
        except (OSError, ValueError, TypeError):
            return None  # not an instance, or one that is being removed

    def _find(self, name: str) -> Instance:
        record = self._read(self._control_root / name)
        if record is None:
            raise ContainerError(f"{name}: no such instance")
        return self._instance(name, record)

    def _instance(self, name: str, record: InstanceRecord) -> Instance:
        running = self._runs(record)
        pid = record.pid if running else 0
        return Instance(name, name, record.vnf, record.server, pid, running, record.labels)

    def _runs(self, record: InstanceRecord) -> bool:
        child = self._children.get(record.pid)
        if child is not None:
            child.poll()  # reaps it when it has ended
        else:
            with suppress(ChildProcessError):  # a restored one is a child that nobody here has made
                os.waitpid(record.pid, os.WNOHANG)
        return record.started != "" and started(record.pid) == record.started

    def _end(self, record: InstanceRecord, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        with suppress(ProcessLookupError):
            if self._runs(record):
                os.kill(record.pid, signal.SIGTERM)
            while self._runs(record) and time.monotonic() < deadline:
                time.sleep(_POLL_S)
            if self._runs(record):
                os.kill(record.pid, signal.SIGKILL)
        child = self._children.pop(record.pid, None)
        if child is not None:
            child.wait()

    def _undo(self, process: subprocess.Popen[bytes] | None, folder: Path, groups: Sequence[Path]) -> None:
        if process is not None:
            process.kill()
            process.wait()
            self._children.pop(process.pid, None)
        for group in groups:
            remove_group(group)
        shutil.rmtree(folder, ignore_errors=True)


def started(pid: int, proc: Path = Path("/proc")) -> str:
    """Start time of a process in clock ticks since boot, "" when there is none or it is a zombie."""
    try:
        fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _working_in(folder: Path, proc: Path = Path("/proc")) -> list[int]:
    """Processes whose working directory a folder is."""
    found = []
    for link in proc.glob("[0-9]*/cwd"):
        with suppress(OSError):  # it may have ended
            if link.readlink() == folder:
                found.append(int(link.parent.name))
    return found


def _last_words(folder: Path) -> str:
    try:
        lines = (folder / _LOG).read_text(errors="replace").strip().splitlines()
    except OSError:
        return "no last words"
    return lines[-1] if lines else "no last words"
