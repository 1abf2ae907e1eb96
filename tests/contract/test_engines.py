"""What holds of every container engine: Docker's, and processes in namespaces."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from controller.containers import LABEL, ContainerError, Instance, InstanceSpec
from controller.engines import open_engine
from mininet_topos.engine import PrivateDocker
from tests.contract.conftest import Bench, own_network, wire_up
from tests.contract.frames import Datagram, build, wait_until
from twin.errors import EnvironmentLack, InputError

pytestmark = pytest.mark.root
BUSY = ("function firewall", "work_us 3000")


def pids_in_groups(bench: Bench, server: str) -> list[str]:
    folders = Path("/sys/fs/cgroup").glob(f"**{bench.servers.path(server)}")
    return [pid for folder in folders for file in folder.rglob("cgroup.procs") for pid in file.read_text().split()]


def test_starts_answers_and_stops(bench: Bench) -> None:
    instance = bench.engine.start(bench.spec("nat-1", "function nat", "external 10.9.0.1"))
    assert (instance.name, instance.vnf, instance.server, instance.running) == ("nat-1", "chain.nat-1", "e1", True)
    with own_network():
        wire_up(instance.pid).close()
        bench.engine.wait_ready(instance, timeout_s=5)
        health = bench.engine.ask(instance, "health")
    assert (health["function"], health["interface_up"], health["version"]) == ("nat", True, "1.0.0")
    bench.engine.stop(instance.id, timeout_s=2)
    assert list(bench.engine.instances()) == []
    assert not Path(f"/proc/{instance.pid}").exists()
    assert not (bench.control_root / "nat-1").exists()
    bench.engine.stop(instance.id, timeout_s=2)  # gone already: no error


def test_without_an_interface_it_is_not_ready(bench: Bench) -> None:
    instance = bench.engine.start(bench.spec("fw-1"))
    with pytest.raises(ContainerError, match=r"fw-1: not ready within 0\.3 s"):
        bench.engine.wait_ready(instance, timeout_s=0.3)


def test_stops_at_once_on_sigterm(bench: Bench) -> None:
    instance = bench.engine.start(bench.spec("fw-1"))
    wait_until(lambda: answers(bench, instance))
    before = time.monotonic()
    bench.engine.stop(instance.id, timeout_s=20)
    assert time.monotonic() - before < 5  # far below the 20 s that an ignored signal would take


def answers(bench: Bench, instance: Instance) -> bool:
    try:
        return bench.engine.ask(instance, "health")["ok"] is True
    except ContainerError:
        return False


def test_usage_grows_with_packets(bench: Bench) -> None:
    instance = bench.engine.start(bench.spec("fw-1", "function firewall", "work_us 200"))
    frame = build(Datagram("10.0.0.1", "10.8.0.2", payload=b"x" * 458))
    with own_network():
        wire = wire_up(instance.pid)
        bench.engine.wait_ready(instance, timeout_s=5)
        # the server's reading brackets the instance's
        server_before, before = bench.engine.server_usage("e1"), bench.engine.usage(instance)
        for _ in range(500):
            wire.send(frame)
            assert wire.receive(1) == [frame]
        after, server_after = bench.engine.usage(instance), bench.engine.server_usage("e1")
        wire.close()
    assert after.rx_bytes - before.rx_bytes == after.tx_bytes - before.tx_bytes == 500 * len(frame)
    assert 0.08 < after.cpu_s - before.cpu_s < 0.5  # 500 times 200 µs and the packet loop
    assert server_after.cpu_s - server_before.cpu_s >= after.cpu_s - before.cpu_s
    assert 0.1 < after.memory_mb < 32


def test_a_second_adapter_adopts_by_labels(bench: Bench) -> None:
    first = bench.engine.start(bench.spec("fw-1"))
    again = bench.reopen()
    [adopted] = again.instances()
    assert adopted == first
    assert adopted.labels[LABEL + "vnf"] == "chain.fw-1"
    assert adopted.labels[LABEL + "function"] == "firewall"
    assert wait_until(lambda: answers(bench, adopted))
    assert again.usage(adopted).cpu_s > 0
    again.stop(adopted.id, timeout_s=2)
    assert list(bench.engine.instances()) == []


def test_instances_are_those_of_the_run(bench: Bench) -> None:
    for name in ("b-2", "a-1"):
        bench.engine.start(bench.spec(name))
    assert [i.name for i in bench.engine.instances()] == ["a-1", "b-2"]


def test_killed_outside_is_seen_as_not_running(bench: Bench) -> None:
    instance = bench.engine.start(bench.spec("fw-1"))
    os.kill(instance.pid, signal.SIGKILL)
    assert wait_until(lambda: not bench.engine.instances()[0].running)
    with pytest.raises(ContainerError, match="fw-1: ended"):
        bench.engine.wait_ready(instance, timeout_s=5)
    with pytest.raises(ContainerError, match="fw-1"):
        bench.engine.ask(instance, "health")
    bench.engine.stop(instance.id, timeout_s=2)
    assert list(bench.engine.instances()) == []


def test_bad_configuration_is_told_in_the_words_of_the_vnf(bench: Bench) -> None:
    with pytest.raises(ContainerError, match=r"fw-1: ended: .*line 2: not a protocol"):
        bench.engine.wait_ready(bench.engine.start(bench.spec("fw-1", "function firewall", "rule deny x any any 1")),
                                timeout_s=5)  # fmt: skip


def test_refused_starts_leave_nothing(bench: Bench) -> None:
    with pytest.raises(ContainerError, match="fw-1: unknown server: nowhere"):
        bench.engine.start(bench.spec("fw-1", server="nowhere"))
    first = bench.engine.start(bench.spec("fw-2"))
    with pytest.raises(ContainerError, match="fw-2"):
        bench.engine.start(bench.spec("fw-2"))
    assert list(bench.engine.instances()) == [first]
    assert wait_until(lambda: answers(bench, first))  # the refusal did not take the first one's folder away
    assert not (bench.control_root / "fw-1").exists()


def test_two_vnfs_share_their_servers_quota(bench: Bench) -> None:
    """Both would take a whole core; their server has 0.2 of one."""
    started = [bench.engine.start(bench.spec(f"busy-{n}", *BUSY, server="slow")) for n in (1, 2)]
    frame = build(Datagram("10.0.0.1", "10.8.0.2"))
    with own_network():
        wires = [wire_up(instance.pid, f"w{n}") for n, instance in enumerate(started)]
        for instance in started:
            bench.engine.wait_ready(instance, timeout_s=10)
        before, begin = bench.engine.server_usage("slow").cpu_s, time.monotonic()
        while (lasted := time.monotonic() - begin) < 2:
            for wire in wires:
                wire.send(frame)
            time.sleep(0.002)
        used = (bench.engine.server_usage("slow").cpu_s - before) / lasted
        for wire in wires:
            wire.close()
    assert used == pytest.approx(0.2, abs=0.03)


def test_powered_off_server_kills_and_refuses(bench: Bench) -> None:
    instance = bench.engine.start(bench.spec("fw-1"))
    bench.servers.power_off("e1")
    assert wait_until(lambda: not bench.engine.instances()[0].running)
    bench.engine.stop(instance.id, timeout_s=2)
    with pytest.raises(ContainerError, match="fw-2"):
        bench.engine.start(bench.spec("fw-2"))
    assert list(bench.engine.instances()) == []
    assert pids_in_groups(bench, "e1") == []
    bench.servers.power_on("e1")
    assert bench.engine.start(bench.spec("fw-3")).running


def test_only_the_raw_socket_capability(bench: Bench) -> None:
    instance = bench.engine.start(bench.spec("fw-1"))
    wait_until(lambda: answers(bench, instance))
    status = Path(f"/proc/{instance.pid}/status").read_text()
    lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(lines["CapEff"], 16) == int(lines["CapBnd"], 16) == 1 << 13
    assert lines["NoNewPrivs"] == "1"
    assert os.stat(f"/proc/{instance.pid}/ns/net").st_ino != os.stat("/proc/self/ns/net").st_ino


def test_threads_may_share_an_engine(bench: Bench) -> None:
    with ThreadPoolExecutor(4) as pool:
        started = list(pool.map(lambda n: bench.engine.start(bench.spec(f"fw-{n}")), range(4)))
        assert all(pool.map(lambda i: wait_until(lambda: answers(bench, i)), started))
        list(pool.map(lambda i: bench.engine.stop(i.id, timeout_s=2), started))
    assert list(bench.engine.instances()) == []


def test_missing_image_is_named_and_not_pulled(private_docker: PrivateDocker, run_dir: Path) -> None:
    engine = open_engine(private_docker.url, run_id="none", servers={"e1": ""}, control_root=run_dir)
    with pytest.raises(ContainerError, match=r"fw-1: image missing in the engine: .*nobody/nothing:1"):
        engine.start(InstanceSpec("fw-1", "v", "firewall", "e1", "nobody/nothing:1", 16, (), {}))
    assert list(engine.instances()) == []
    assert list(run_dir.iterdir()) == []


def test_unreachable_and_unknown_engines(run_dir: Path) -> None:
    with pytest.raises(EnvironmentLack, match=r"no container engine answers.*mend: start the engine") as lack:
        open_engine(f"unix://{run_dir}/none.sock", run_id="r", servers={}, control_root=run_dir)
    assert "\n" not in str(lack.value)
    with pytest.raises(InputError, match="not a container engine's URL"):
        open_engine("carrier-pigeon", run_id="r", servers={}, control_root=run_dir)
