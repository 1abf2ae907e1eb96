"""The test bed's own engine and servers: they come up anywhere, and nothing of them stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mininet_topos.engine import PrivateDocker, engine_available, sweep
from mininet_topos.server_cgroups import CGROUP_ROOT, CgroupTree, ServerCgroups, remove_leftovers
from tests.contract.conftest import make_server
from tests.contract.frames import wait_until
from twin.errors import EnvironmentLack

pytestmark = pytest.mark.root
ROOT = Path(__file__).resolve().parents[2]
RUN = f"t{os.getpid()}"

RUN_A_CONTAINER = """
import sys
from pathlib import Path
from controller.containers import InstanceSpec
from controller.engines import engine_image, open_engine
from mininet_topos.engine import PrivateDocker, ServerCgroups
from tests.contract.conftest import make_server
folder, run = Path(sys.argv[1]), sys.argv[2]
with PrivateDocker(folder) as docker, ServerCgroups(run) as cgroups:
    group = cgroups.add(make_server("e1"))
    engine = open_engine(docker.url, run_id=run, servers={"e1": group}, control_root=folder / "control")
    spec = InstanceSpec("fw-1", "v", "firewall", "e1", engine_image(engine), 16, ["function firewall"], {})
    instance = engine.start(spec)
    print("pid", instance.pid, engine.server_usage("e1").cpu_s > 0, flush=True)
    input()
"""


def child(*before: str, folder: Path, run: str) -> subprocess.Popen[str]:
    words = [*before, sys.executable, "-c", RUN_A_CONTAINER, str(folder), run]
    return subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def traces(folder: Path, run: str) -> list[str]:
    """Cgroups, mounts and processes that name the run or its folder."""
    groups = [str(path) for path in CGROUP_ROOT.glob(f"*/vnftwin-{run}")]
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if str(folder) in line]
    running = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words, me = (process / "cmdline").read_text(), int(process.name) == os.getpid()
        except OSError:
            continue
        if str(folder) in words and not me:
            running.append(words)
    return groups + mounts + running


@pytest.fixture
def killed(run_dir: Path) -> Iterator[list[subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
    sweep(run_dir / "engine")  # where a test failed half-way
    remove_leftovers()


def test_engine_works_as_the_first_process_of_private_namespaces(
    run_dir: Path, killed: list[subprocess.Popen[str]]
) -> None:
    unshare = ("unshare", "-n", "-m", "-p", "-f", "--mount-proc", "--kill-child")
    process = child(*unshare, folder=run_dir, run=RUN + "ns")
    killed.append(process)
    out, _ = process.communicate("\n", timeout=60)
    word, pid, used = out.split()
    assert (word, used) == ("pid", "True")
    assert int(pid) > 1
    assert process.returncode == 0
    assert traces(run_dir, RUN + "ns") == []
    assert not (run_dir / "engine").exists()


def test_next_start_removes_what_a_killed_run_left(run_dir: Path, killed: list[subprocess.Popen[str]]) -> None:
    run = RUN + "dead"
    process = child(folder=run_dir, run=run)
    killed.append(process)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("pid")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert traces(run_dir, run)  # its daemons, container and groups live on
    remove_leftovers()
    sweep(run_dir / "engine")
    remove_leftovers()
    assert wait_until(lambda: traces(run_dir, run) == [])


def test_a_living_runs_groups_are_left_alone() -> None:
    with ServerCgroups(RUN) as living:
        living.add(make_server("e1"))
        remove_leftovers()
        folders = CgroupTree("vnftwin-" + RUN).folders
        assert all((folder / "e1").is_dir() for folder in folders)
        with pytest.raises(EnvironmentLack, match="in use"):
            ServerCgroups(RUN).__enter__()
        assert all((folder / "e1").is_dir() for folder in folders)
    assert not any(folder.exists() for folder in folders)


def test_limits_of_a_server() -> None:
    with ServerCgroups(RUN) as cgroups:
        cgroups.add_all([make_server("e1", cpu_cores=0.3, memory_mb=128), make_server("tiny", cpu_cores=0.01)])
        quotas = {}
        for mount in CgroupTree.mounts():
            for name in ("e1", "tiny"):
                folder = mount / f"vnftwin-{RUN}" / name
                for file in ("cpu.cfs_quota_us", "cpu.max"):
                    if (folder / file).exists():
                        quotas[name] = (folder / file).read_text().split()[0]
                for file in ("memory.limit_in_bytes", "memory.max"):
                    if (folder / file).exists() and name == "e1":
                        assert int((folder / file).read_text()) == 128 << 20
        assert quotas == {"e1": "3000", "tiny": "1000"}


def test_a_tree_of_version_2_gets_its_limits(tmp_path: Path) -> None:
    """This kernel may have version 1 only, so what is written is checked on a tree of plain files."""
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    (tmp_path / "cgroup.subtree_control").write_text("")
    cgroups = ServerCgroups("v2", tmp_path)
    folder = tmp_path / "vnftwin-v2" / "e1"
    folder.mkdir(parents=True)
    for file in ("cpu.max", "memory.max", "pids.max"):
        (folder / file).write_text("max\n")
    assert cgroups.add(make_server("e1", cpu_cores=0.5, memory_mb=64)) == "/vnftwin-v2/e1"
    assert (folder / "cpu.max").read_text() == "5000 10000"
    assert (folder / "memory.max").read_text() == str(64 << 20)
    cgroups.power_off("e1")
    assert (folder / "pids.max").read_text() == "0"


def test_a_failed_start_says_why_and_leaves_nothing(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EnvironmentLack, match="path too long for a socket"):
        PrivateDocker(run_dir / ("x" * 90)).start()
    monkeypatch.setenv("PATH", "/nowhere")
    assert "dockerd, containerd" in engine_available()
    with pytest.raises(EnvironmentLack, match=r"no container engine can be started.*mend: apt-get install"):
        PrivateDocker(run_dir).start()
    assert list(run_dir.iterdir()) == []
