"""The engine behind a URL: `process:`, or what the `docker` SDK takes (`unix://`, `tcp://`, `ssh://`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from controller.containers import ContainerEngine, ContainerError
from controller.docker_engine import DockerEngine
from controller.images import ensure_images
from controller.process_checkpoint import CheckpointingProcesses
from twin.errors import EnvironmentLack, InputError

PROCESS = "process:"
_SCHEMES = ("unix://", "tcp://", "ssh://", "http://", "https://", "npipe://")


def open_engine(
    url: str, *, run_id: str, servers: Mapping[str, str], control_root: Path, tls: str = ""
) -> ContainerEngine:
    """An engine that has answered once.

    `servers` maps each server to its control-group parent ("" for none); `tls` is the folder of the PEM files for
    `tcp://`. EnvironmentLack when nothing answers at the URL or this machine cannot isolate a process; InputError for a
    URL of no known kind, or PEM files that are not there.
    """
    if url == PROCESS:
        return CheckpointingProcesses(run_id, servers, control_root)
    if not url.startswith(_SCHEMES):
        raise InputError(f"not a container engine's URL: {url!r} (process:, unix://, tcp:// or ssh://)")
    engine = DockerEngine(url, run_id, servers, control_root, tls=tls)
    try:
        with engine.client() as client:
            client.ping()
    except ContainerError as error:
        raise EnvironmentLack(f"no container engine answers: {error}", _mend(url, tls)) from None
    return engine


def engine_image(engine: ContainerEngine, base: str = "scratch") -> str:
    """The tag of the VNFs' image in this engine, built when missing; "" for an engine that needs none."""
    if not isinstance(engine, DockerEngine):
        return ""
    with engine.client() as client:
        return ensure_images(client, base)


def _mend(url: str, tls: str) -> str:
    if url.startswith("unix://"):
        return "start the engine (systemctl start docker), or choose --engine process:"
    if url.startswith("ssh://"):
        return f"check that this works without a question: ssh {url.removeprefix('ssh://')} docker version"
    verify = f"DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH={tls} " if tls else ""
    return f"check that this reaches it: {verify}docker -H {url} version"
