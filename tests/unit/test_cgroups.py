"""Readings of control groups from trees as version 1, version 2 and hybrid systems have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.cgroups import CgroupError, GroupReader, NetworkReader, ProcessReader, find_hierarchy, group_of

PID = 42
NET_DEV = """Inter-|   Receive                            |  Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo:       9       1 0 0 0 0 0 0        9       1 0 0 0 0 0 0
  eth0: 1234567    1000 0 0 0 0 0 0  7654321    2000 0 0 0 0 0 0
"""


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def v1(root: Path, *, shared: bool) -> None:
    cpu = "cpu,cpuacct" if shared else "cpuacct"
    write(root / cpu / "run" / "e1" / "cpuacct.usage", "1500000000\n")
    write(root / "memory" / "run" / "e1" / "memory.usage_in_bytes", "2000000\n")


def v2(root: Path) -> None:
    write(root / "cgroup.controllers", "cpuset cpu io memory pids\n")
    write(root / "run" / "e1" / "cpu.stat", "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n")
    write(root / "run" / "e1" / "memory.current", "3000000\n")


def test_version_1(tmp_path: Path) -> None:
    v1(tmp_path, shared=False)
    reader = GroupReader.at("/run/e1", root=tmp_path)
    assert (reader.cpu_s(), reader.memory_mb()) == (1.5, 2.0)


def test_version_1_with_controllers_sharing_a_hierarchy(tmp_path: Path) -> None:
    v1(tmp_path, shared=True)
    assert GroupReader.at("run/e1", root=tmp_path).cpu_s() == 1.5


def test_version_2(tmp_path: Path) -> None:
    v2(tmp_path)
    reader = GroupReader.at("/run/e1", root=tmp_path)
    assert (reader.cpu_s(), reader.memory_mb()) == (2.5, 3.0)


def test_hybrid_reads_each_controller_where_it_lives(tmp_path: Path) -> None:
    v1(tmp_path, shared=True)
    (tmp_path / "memory" / "run" / "e1" / "memory.usage_in_bytes").unlink()
    for folder in ("memory/run/e1", "memory/run", "memory"):
        (tmp_path / folder).rmdir()
    v2(tmp_path / "unified")
    assert find_hierarchy("cpuacct", tmp_path) is not None
    reader = GroupReader.at("/run/e1", root=tmp_path)
    assert (reader.cpu_s(), reader.memory_mb()) == (1.5, 3.0)


def test_a_hybrid_root_without_controllers_is_not_version_2(tmp_path: Path) -> None:
    v1(tmp_path, shared=False)
    write(tmp_path / "unified" / "cgroup.controllers", "\n")
    hierarchy = find_hierarchy("memory", tmp_path)
    assert hierarchy is not None
    assert hierarchy.version == 1


def test_group_of_a_process_in_both_versions(tmp_path: Path) -> None:
    lines = "9:name=systemd:/x\n3:cpu,cpuacct:/run/e1/a\n4:memory:/other\n0::/run/e1/b\n"
    write(tmp_path / "proc" / str(PID) / "cgroup", lines)
    one, two = tmp_path / "one", tmp_path / "two"
    v1(one, shared=True)
    v2(two)
    proc = tmp_path / "proc"
    assert group_of(PID, "cpuacct", root=one, proc=proc) == one / "cpu,cpuacct" / "run/e1/a"
    assert group_of(PID, "memory", root=one, proc=proc) == one / "memory" / "other"
    assert group_of(PID, "memory", root=two, proc=proc) == two / "run/e1/b"


def test_readings_follow_the_file(tmp_path: Path) -> None:
    v2(tmp_path)
    reader = GroupReader.at("/run/e1", root=tmp_path)
    (tmp_path / "run/e1/memory.current").write_text("4000000\n")
    assert reader.memory_mb() == 4.0


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(CgroupError, match="no mounted cgroup hierarchy accounts for cpuacct"):
        GroupReader.at("/run/e1", root=tmp_path)
    v2(tmp_path)
    with pytest.raises(CgroupError, match="gone"):
        GroupReader.at("/run/gone", root=tmp_path)
    with pytest.raises(CgroupError, match="no process 42"):
        group_of(PID, "memory", root=tmp_path, proc=tmp_path)
    write(tmp_path / "run/e1/cpu.stat", "user_usec 1\n")
    with pytest.raises(CgroupError, match="usage_usec"):
        GroupReader.at("/run/e1", root=tmp_path).cpu_s()


def test_a_closed_reader_keeps_no_descriptor(tmp_path: Path) -> None:
    v1(tmp_path, shared=False)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        GroupReader.at("/run/e1", root=tmp_path).close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_network_counters(tmp_path: Path) -> None:
    write(tmp_path / str(PID) / "net" / "dev", NET_DEV)
    assert NetworkReader(PID, proc=tmp_path).bytes() == (1234567, 7654321)
    assert NetworkReader(PID, "eth1", proc=tmp_path).bytes() == (0, 0)


def test_process_without_a_group(tmp_path: Path) -> None:
    write(tmp_path / str(PID) / "schedstat", "1250000000 300 17\n")
    write(tmp_path / str(PID) / "statm", "500 250 100 1 0 100 0\n")
    reader = ProcessReader(PID, proc=tmp_path)
    assert reader.cpu_s() == 1.25
    assert reader.memory_mb() == pytest.approx(250 * 4096 / 1e6)
