"""An image that comes as a file: the engine loads it once, and runs it; what is no image is told in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.containers import ContainerError, InstanceSpec
from controller.docker_engine import DockerEngine
from controller.engines import engine_image
from mininet_topos.engine import PrivateDocker

pytestmark = pytest.mark.root
CONFIG = ("function firewall",)


def test_an_archive_is_loaded_and_run(private_docker: PrivateDocker, run_dir: Path) -> None:
    engine = DockerEngine(private_docker.url, "archive", {"e1": ""}, run_dir / "control")
    archive = run_dir / "own.tar"
    with engine.client() as client:
        client.images.get(engine_image(engine)).tag("own", "archived")
        archive.write_bytes(b"".join(client.images.get("own:archived").save(named=True)))
        client.images.remove("own:archived")
    instances = []
    try:
        for number in (1, 2):  # the second time it is there
            spec = InstanceSpec(
                f"own-{number}", "c.own", "firewall", "e1", str(archive), 32, ("function firewall",), {}
            )
            instances.append(engine.start(spec))
        assert all(instance.running for instance in engine.instances())
        assert engine.ask(instances[0], "health")["function"] == "firewall"
    finally:
        for instance in instances:
            engine.stop(instance.id, timeout_s=1)


def test_what_is_no_image_is_told(private_docker: PrivateDocker, run_dir: Path) -> None:
    (run_dir / "bad.tar").write_text("not an archive")
    engine = DockerEngine(private_docker.url, "archive", {"e1": ""}, run_dir / "control")
    spec = InstanceSpec("own-3", "c.own", "firewall", "e1", str(run_dir / "bad.tar"), 32, CONFIG, {})
    with pytest.raises(ContainerError, match=r"bad\.tar"):
        engine.start(spec)
    assert engine.instances() == []
