"""Processes in namespaces that can also be dumped and restored in another place on this host, by CRIU.

A *place* is a network namespace held open by a process that sleeps. Restored is the same process: its number, memory
and sockets, in the namespace, the control groups and the working folder of the new place (docs/moves.md).
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from controller.checkpoint import Criu, checkpoint_lack, find_criu
from controller.containers import ContainerError, Instance, InstanceSpec
from controller.control_socket import SOCKET_NAME
from controller.process_engine import InstanceRecord, ProcessEngine, started

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_IMAGES = "images"
_STAND_IN = ("sleep", "infinity")
_GONE_S = 5.0
_INTERFACE = "eth0"
_libc = ctypes.CDLL(None, use_errno=True)


class CheckpointingProcesses(ProcessEngine):
    """Implements `controller.containers.Checkpoints` besides."""

    def checkpoint_lack(self) -> str:
        """Why it cannot, in one line; '' where it can."""
        return checkpoint_lack()

    def reserve(self, spec: InstanceSpec) -> Instance:
        """A namespace and control groups of its own, held by a stand-in."""
        folder = self._new_folder(spec)
        groups: list[Path] = []
        process = None
        try:
            groups += self._make_groups(spec)
            process = self._launch(spec, folder, groups, _STAND_IN)
            _await_namespace(process.pid)
            return self._record(spec, folder, process.pid, groups, hollow=True)
        except (OSError, ContainerError) as error:
            self._undo(process, folder, groups)
            raise ContainerError(f"{spec.name}: place: {error}") from None

    def dump(self, instance: Instance) -> None:
        """Ends the process; a stand-in holds its namespace, so that its port stays and it can come back."""
        folder, record = self._known(instance.name)
        if record.hollow:
            return
        inside = ["nsenter", f"--net=/proc/{record.pid}/ns/net", "--", *_STAND_IN]
        stand_in = subprocess.Popen(inside, cwd=folder, stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            _await_namespace(stand_in.pid)
            _criu().dump(record.pid, folder / _IMAGES)
        except ContainerError:
            stand_in.kill()
            stand_in.wait()
            raise
        self._children[stand_in.pid] = stand_in
        self._await_end(record)
        self._write(folder, replace(record, pid=stand_in.pid, started=started(stand_in.pid), hollow=True))

    def restore(self, source: Instance, target: Instance) -> Instance:
        """Working folders are exchanged while CRIU looks for the old one: the process finds itself in the new one."""
        folder, record = self._known(target.name)
        if not record.hollow:
            return self._instance(target.name, record)
        home, held = self._known(source.name)
        (folder / SOCKET_NAME).unlink(missing_ok=True)  # its process binds it again
        if home == folder:
            pid = _criu().restore(home / _IMAGES, record.pid)
        else:
            _take_addresses(held.pid, record.pid)
            _exchange(home, folder)
            try:
                pid = _criu().restore(folder / _IMAGES, record.pid)
            finally:
                _exchange(home, folder)
        return self._enliven(target.name, folder, record, pid)

    def _enliven(self, name: str, folder: Path, record: InstanceRecord, pid: int) -> Instance:
        """The process is the instance's from now on, and the stand-in is not needed."""
        for group in record.groups:
            (Path(group) / "cgroup.procs").write_text(str(pid))
        live = replace(record, pid=pid, started=started(pid), hollow=False)
        self._write(folder, live)
        self._end(record, timeout_s=0.0)
        self._usage.forget(name, record.server)  # what was read was the stand-in's
        return self._instance(name, live)

    def _known(self, name: str) -> tuple[Path, InstanceRecord]:
        folder = self._control_root / name
        record = self._read(folder)
        if record is None or not self._runs(record):
            raise ContainerError(f"{name}: no such instance, or it has ended")
        return folder, record

    def _await_end(self, record: InstanceRecord) -> None:
        """The number of a dumped process has to be free before it can be restored."""
        deadline_s = time.monotonic() + _GONE_S
        while Path(f"/proc/{record.pid}").exists():
            self._runs(record)  # reaps it, if it is our child
            if time.monotonic() > deadline_s:
                raise ContainerError(f"process {record.pid} was dumped and does not end")
            time.sleep(0.002)
        self._children.pop(record.pid, None)


def _criu() -> Criu:
    criu = find_criu()
    if criu is None:
        raise ContainerError("criu is not installed")
    return criu


def _await_namespace(pid: int) -> None:
    """Until a process has left the caller's network namespace."""
    deadline_s = time.monotonic() + _GONE_S
    ours = os.stat("/proc/thread-self/ns/net").st_ino
    with suppress(OSError):  # it has ended
        while time.monotonic() < deadline_s:
            if os.stat(f"/proc/{pid}/ns/net").st_ino != ours:
                return
            time.sleep(0.001)
    raise ContainerError(f"process {pid} has no network namespace of its own")


def _take_addresses(old_pid: int, new_pid: int) -> None:
    """Gives the interface of the new place the MAC and IP addresses of the old one. Sockets know it by its index."""
    old, new = _interface(old_pid), _interface(new_pid)
    if old["ifindex"] != new["ifindex"]:
        raise ContainerError(
            f"{_INTERFACE} has the index {new['ifindex']} in the new place, {old['ifindex']} in the old"
        )
    _ip(new_pid, "link", "set", _INTERFACE, "address", str(old["address"]))
    addresses = old.get("addr_info")
    for address in addresses if isinstance(addresses, list) else ():
        _ip(new_pid, "address", "replace", f"{address['local']}/{address['prefixlen']}", "dev", _INTERFACE)


def _interface(pid: int) -> dict[str, object]:
    found: list[dict[str, object]] = json.loads(_ip(pid, "-j", "address", "show", "dev", _INTERFACE))
    return found[0]


def _ip(pid: int, *words: str) -> str:
    done = subprocess.run(["nsenter", "-t", str(pid), "-n", "ip", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ContainerError(f"ip: {(done.stderr.strip() or 'failed').splitlines()[0]}")
    return done.stdout


def _exchange(one: Path, other: Path) -> None:
    """Two folders swap their names, at once."""
    if _libc.renameat2(_AT_FDCWD, bytes(one), _AT_FDCWD, bytes(other), _RENAME_EXCHANGE) != 0:
        raise ContainerError(f"{one}: {os.strerror(ctypes.get_errno())}")
