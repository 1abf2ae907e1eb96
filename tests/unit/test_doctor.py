"""`vnftwin doctor` where things are hidden from it: each lack is told with what mends it; it ends with 1 if needed."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import socket
from pathlib import Path

import pytest

from controller import doctor
from controller.cli import main
from controller.doctor import Finding, examine

HIDDEN = {"ovs-vswitchd", "mnexec", "gcc, libsodium", "nsenter", "ip", "ethtool", "namespaces"}


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine on which no program is installed; a test may link some into the folder that is returned."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(doctor, "_SYSTEM_FOLDERS", ())
    return tmp_path


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_what_is_hidden_is_lacking_and_its_mend_is_told(bare: Path) -> None:
    findings = by_name(examine())
    lacking = {name for name, finding in findings.items() if finding.needed and not finding.ok}
    assert lacking - {"root", "emulator", "port 8080"} == HIDDEN
    assert all(finding.mend for finding in findings.values() if not finding.ok)
    assert findings["ovs-vswitchd"].mend.endswith("openvswitch-switch")
    assert not findings["dockerd"].ok
    assert not findings["dockerd"].needed  # VNFs run as processes then


def test_exit_code_and_json(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 1
    found = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert found["gcc, libsodium"]["ok"] is False
    assert set(found["ip"]) == {"name", "ok", "found", "mend", "needed"}


def test_only_a_needed_lack_counts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: [Finding("frill", False, "absent", "get one", needed=False)])
    assert main(["doctor"]) == 0
    assert "get one" in capsys.readouterr().out


def test_a_library_that_cannot_be_linked_is_no_library(bare: Path) -> None:
    for program in ("gcc", "as", "ld", "make"):
        where = shutil.which(program, path="/usr/bin:/bin")
        assert where, f"{program} is not installed"
        (bare / program).symlink_to(where)
    assert doctor._compiler().ok
    os.unlink(bare / "make")
    assert doctor._compiler().found == "no make"


def test_a_port_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        taken = doctor._port(port, "REST", "stop it")
    assert (taken.ok, taken.mend) == (False, "stop it")
    assert "in use" in taken.found
    assert doctor._port(port, "REST", "stop it").ok


def test_a_package_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def version(package: str) -> str:
        if package == "torch":
            raise importlib.metadata.PackageNotFoundError(package)
        return real(package)

    monkeypatch.setattr(importlib.metadata, "version", version)
    finding = doctor._packages()
    assert (finding.ok, finding.found, finding.mend) == (False, "lacks torch", "make setup")


def test_control_groups_are_tried(tmp_path: Path) -> None:
    assert doctor._control_groups(tmp_path).found == "not mounted"
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    assert doctor._control_groups(tmp_path).found == "version 2, writable"
    assert doctor._control_groups(Path("/proc")).ok is False


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "DISK_MB", 1 << 40)
    assert not doctor._disk(tmp_path).ok
