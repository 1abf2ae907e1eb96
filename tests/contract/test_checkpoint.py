"""A VNF's process dumped and restored in another place: it keeps its table, its counters and its sockets.

Needs a CRIU that works on this kernel, which is looked for in the search path; without one only its absence is tested.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.checkpoint import checkpoint_lack
from controller.containers import ContainerError, Instance, InstanceSpec
from controller.process_checkpoint import CheckpointingProcesses
from tests.contract.conftest import command, own_network, wire_up
from tests.contract.frames import Datagram, Wire

pytestmark = pytest.mark.root
needs_criu = pytest.mark.skipif(bool(checkpoint_lack()), reason=f"no checkpoints here: {checkpoint_lack()}")


@pytest.fixture
def engine(run_dir: Path, vnf_binary: Path) -> Iterator[CheckpointingProcesses]:
    with own_network():
        command("ip", "link", "set", "lo", "up")
        engine = CheckpointingProcesses("test", {"e1": ""}, run_dir / "control", binary=vnf_binary)
        yield engine
        for instance in engine.instances():
            engine.stop(instance.id, timeout_s=2)


def _spec(name: str) -> InstanceSpec:
    return InstanceSpec(name, "web.monitor", "monitor", "e1", "", 32, ("function monitor",), {})


def _seen(engine: CheckpointingProcesses, instance: Instance, wire: Wire, packets: int) -> tuple[int, int]:
    """Packets sent and taken back; then how many packets and flows the VNF knows of."""
    for number in range(packets):
        sent = Datagram("10.0.0.1", "10.0.1.1", src_port=1000 + number)
        assert wire.pass_through(sent) == [sent]
    counters = engine.ask(instance, "counters")
    return int(str(counters["rx_packets"])), int(str(counters["entries"]))


@needs_criu
def test_it_goes_from_place_to_place_with_all_it_knows(engine: CheckpointingProcesses) -> None:
    instance = engine.start(_spec("m0"))
    wire = wire_up(instance.pid, "w0")
    engine.wait_ready(instance, timeout_s=2)
    mac = _mac(instance)
    known = _seen(engine, instance, wire, 5)
    assert known[1] == 5
    for number in (1, 2, 3):
        place = engine.reserve(_spec(f"m{number}"))
        wire = wire_up(place.pid, f"w{number}")
        engine.dump(instance)
        restored = engine.restore(instance, place)
        engine.wait_ready(restored, timeout_s=2)
        engine.stop(instance.id, timeout_s=2)
        assert [i.name for i in engine.instances()] == [restored.name]
        assert _mac(restored) == mac
        packets, entries = _seen(engine, restored, wire, 5)
        assert packets >= known[0] + 5
        assert entries == 5  # the same flows: the table came along
        instance, known = restored, (packets, entries)


@needs_criu
def test_it_can_be_brought_back_where_it_was(engine: CheckpointingProcesses) -> None:
    instance = engine.start(_spec("m0"))
    wire = wire_up(instance.pid, "w0")
    engine.wait_ready(instance, timeout_s=2)
    known = _seen(engine, instance, wire, 3)
    place = engine.reserve(_spec("m1"))  # without an interface: it cannot be restored there
    engine.dump(instance)
    engine.dump(instance)  # once is enough
    with pytest.raises(ContainerError):
        engine.ask(instance, "health")
    with pytest.raises(ContainerError):
        engine.restore(instance, place)
    engine.stop(place.id, timeout_s=2)
    back = engine.restore(instance, instance)
    assert engine.restore(instance, instance) == back  # once is enough
    engine.wait_ready(back, timeout_s=2)
    assert _seen(engine, back, wire, 3) >= (known[0] + 3, 3)


def test_what_is_not_there_is_an_error_in_words(engine: CheckpointingProcesses) -> None:
    nobody = Instance("m9", "m9", "web.monitor", "e1", 0, False, {})
    with pytest.raises(ContainerError, match="m9: no such instance"):
        engine.dump(nobody)


def _mac(instance: Instance) -> str:
    shown = ["nsenter", "-t", str(instance.pid), "-n", "ip", "-br", "link", "show", "eth0"]
    return subprocess.run(shown, check=True, capture_output=True, text=True).stdout.split()[2]
