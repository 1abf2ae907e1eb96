"""VNF instances as containers of a Docker engine, or of Podman's compatible socket, through the `docker` SDK.

A container gets no network of the engine's (`controller.ports` attaches one), no capability but CAP_NET_RAW, a
read-only root and its server's control group as parent. What the controller must know after a restart is in labels.
"""

from __future__ import annotations

import base64
import shutil
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from docker.client import DockerClient
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import Healthcheck, LogConfig
from requests.exceptions import RequestException

from controller.containers import LABEL, ContainerError, Instance, InstanceSpec, ServerUsage, Usage
from controller.control_socket import ask_socket, is_ready
from controller.docker_connection import engine_connection
from controller.images import IMAGE_NAME, load_archive, system_calls
from controller.remote_control import RemoteControl
from controller.usage import UsageReader
from twin.scenario_services import ARCHIVE

CONTROL_IN_CONTAINER = "/run/vnf"
CONFIG_NAME = "vnf.conf"
_LEAST_MEMORY_MB = 6  # what the engine accepts
_READY_POLL_S = 0.004
_ALIVE_POLL_S = 0.1
_GONE = (404, 409)  # not there, or its removal is under way


class DockerEngine:
    """Implements `controller.containers.ContainerEngine`; may be called from several threads at once.

    `servers` maps each server to its control-group parent on the engine's machine ("" for the engine's own). With a
    unix socket the engine is on this host: counters are read from its control groups and VNFs are asked through
    `control_root/NAME`, a folder mounted into each. Elsewhere the engine's API serves for both, slower.
    """

    def __init__(
        self, url: str, run_id: str, servers: Mapping[str, str], control_root: Path, *, tls: str = ""
    ) -> None:  # fmt: skip
        """`tls` is a folder with ca.pem, cert.pem and key.pem, as the engine's own client wants them."""
        self._connection = engine_connection(url, tls)
        self._url, self._run_id, self._servers = url, run_id, dict(servers)
        self._control_root = control_root
        self._local = url.startswith(("unix:", "/"))
        self._podman: bool | None = None  # not asked yet
        self._archives: dict[str, str] = {}  # images that came as files, by path
        self._usage = UsageReader(servers, own_groups=True)
        self._remote = RemoteControl(url, tls)
        # Clients are taken and given back rather than shared behind a lock (see controller.usage on locks).
        self._clients: deque[DockerClient] = deque()

    def descriptor_lack(self) -> str:
        """'' with an engine on this host, and where the engine's own client is there."""
        return "" if self._local else self._remote.descriptor_lack()

    @contextmanager
    def client(self) -> Iterator[DockerClient]:
        """A client for the length of one call. ContainerError for whatever the engine or the way to it refuses."""
        try:
            client = self._clients.pop()
        except IndexError:
            client = self._connect()
        try:
            yield client
        except (DockerException, RequestException, OSError) as error:
            raise ContainerError(f"engine {self._url}: {_reason(error)}") from None
        finally:
            self._clients.append(client)

    def close(self) -> None:
        """Closes the connections; instances go on."""
        while self._clients:
            self._clients.pop().close()

    def start(self, spec: InstanceSpec) -> Instance:
        """Starts a container with no network. A missing image is an error, never a pull."""
        if spec.server not in self._servers:
            raise ContainerError(f"{spec.name}: unknown server: {spec.server}")
        with self.client() as client, _named(spec.name):
            if spec.image.endswith(ARCHIVE):
                spec = replace(spec, image=self._archives.get(spec.image) or self._load(client, spec.image))
            created = _create(client, spec.name, self._config(client, spec))
            try:
                self._prepare(spec)  # not before: a container that has the name may be using the folder
                client.api.start(created)
                return self._inspect(client, created)
            except BaseException:
                self._discard(client, created, spec.name)
                raise

    def wait_ready(self, instance: Instance, *, timeout_s: float) -> None:
        """Polls health; an instance that has ended is told at once, with its last words."""
        deadline, alive_at = time.monotonic() + timeout_s, 0.0
        while True:
            with suppress(ContainerError):
                if is_ready(self.ask(instance, "health")):
                    return
            if time.monotonic() > deadline:
                raise ContainerError(f"{instance.name}: not ready within {timeout_s:g} s")
            if time.monotonic() > alive_at:
                self._check_alive(instance)
                alive_at = time.monotonic() + _ALIVE_POLL_S
            time.sleep(_READY_POLL_S)

    def stop(self, instance_id: str, *, timeout_s: float) -> None:
        """Ends it by SIGTERM, by SIGKILL after `timeout_s`, and removes it."""
        with self.client() as client:
            try:
                gone = self._inspect(client, instance_id)
                client.api.stop(instance_id, timeout=max(1, round(timeout_s)))
            except NotFound:
                self._usage.forget(instance_id, "")
                return
            except APIError as error:
                raise ContainerError(f"{instance_id[:12]}: stop: {_reason(error)}") from None
            _remove(client, instance_id)
        self._usage.forget(gone.id, gone.server)
        self._remote.forget(gone.id)
        shutil.rmtree(self._control_root / gone.name, ignore_errors=True)

    def instances(self) -> Sequence[Instance]:
        """All containers labelled with this run, in the order of their names."""
        found = []
        with self.client() as client:
            for row in client.api.containers(all=True, filters={"label": f"{LABEL}run={self._run_id}"}):
                with suppress(NotFound):  # removed between the two calls
                    found.append(self._inspect(client, row["Id"]))
        return sorted(found, key=lambda instance: instance.name)

    def remove_half_started(self) -> None:
        """Folders of containers that were never made."""
        names = {instance.name for instance in self.instances()}
        for folder in self._control_root.glob("*") if self._local else ():
            if folder.name not in names:
                shutil.rmtree(folder, ignore_errors=True)

    def usage(self, instance: Instance) -> Usage:
        """From this host's control groups, or from the engine's statistics (about a second) where it is remote."""
        return self._usage.instance(instance) if self._local else self._remote_usage(instance)

    def server_usage(self, server: str) -> ServerUsage:
        """All VNFs of one server together."""
        if self._local:
            return self._usage.server(server, () if self._servers.get(server) else self.instances())
        usages = [self._remote_usage(i) for i in self.instances() if i.server == server and i.running]
        return ServerUsage(sum(u.cpu_s for u in usages), sum(u.memory_mb for u in usages))

    def ask(self, instance: Instance, request: str, *, pass_fd: int | None = None) -> Mapping[str, object]:
        """Through the control socket, or by running the VNF's own client in the container where that is remote."""
        if self._local:
            return ask_socket(self._control_root / instance.name, instance.name, request, pass_fd=pass_fd)
        with self.client() as client, _named(instance.name):
            if pass_fd is None:
                return self._remote.ask(client, instance, request)
            return self._remote.join(client, instance, request, pass_fd)

    def _load(self, client: DockerClient, archive: str) -> str:
        image = self._archives[archive] = load_archive(client, Path(archive))
        return image

    def _connect(self) -> DockerClient:
        try:
            return self._connection()
        except (DockerException, RequestException, OSError) as error:
            raise ContainerError(f"engine {self._url}: {_reason(error)}") from None

    def _prepare(self, spec: InstanceSpec) -> None:
        """The folder that the container will see as /run/vnf, with its configuration."""
        folder = self._control_root / spec.name
        if not self._local:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / CONFIG_NAME).write_text(_text(spec))
        except OSError as error:
            raise ContainerError(f"{spec.name}: {folder}: {error.strerror}") from None

    def _config(self, client: DockerClient, spec: InstanceSpec) -> dict[str, Any]:
        """Body of the engine's create call. Source: ours (docs/vnf.md, "Confinement")."""
        memory = f"{max(round(spec.memory_mb), _LEAST_MEMORY_MB)}m"
        place: dict[str, Any] = {"tmpfs": {CONTROL_IN_CONTAINER: "size=64k"}}
        command = ["--config-base64", base64.b64encode(_text(spec).encode()).decode()]
        if self._local:
            place = {"binds": [f"{self._control_root.resolve() / spec.name}:{CONTROL_IN_CONTAINER}"]}
            command = ["--config", f"{CONTROL_IN_CONTAINER}/{CONFIG_NAME}"]
        command += ["--standby"] if spec.standby else []
        host_config = client.api.create_host_config(
            network_mode="none", cap_drop=["ALL"], cap_add=["NET_RAW"], read_only=True, ipc_mode="none",
            security_opt=self._security(client, spec), pids_limit=16, mem_limit=memory,
            cgroup_parent=self._servers[spec.server] or None,
            log_config=LogConfig(type="json-file", config={"max-size": "256k"}), **place,
        )  # fmt: skip
        config: dict[str, Any] = client.api.create_container_config(
            spec.image, command, labels=self._labels(spec), host_config=host_config,
            healthcheck=Healthcheck(test=["NONE"]),  # the controller asks; the engine's check costs a process each
        )  # fmt: skip
        return config

    def _security(self, client: DockerClient, spec: InstanceSpec) -> list[str]:
        """Our own VNFs get a short system-call list: tighter than the engine's, and 15 ms of CPU cheaper to load.

        That time counts, since it is taken from the server's quota. Podman reads a path here, so keeps its own list.
        """
        options = ["no-new-privileges"]
        if self._podman is None:
            self._podman = "podman" in str(client.version().get("Components", "")).lower()
        if spec.image.startswith(IMAGE_NAME + ":") and not self._podman:
            options.append(f"seccomp={system_calls()}")
        return options

    def _labels(self, spec: InstanceSpec) -> dict[str, str]:
        own = {"run": self._run_id, "vnf": spec.vnf, "function": spec.function, "server": spec.server}
        return {**spec.labels, **{LABEL + key: value for key, value in own.items()}}

    def _inspect(self, client: DockerClient, container_id: str) -> Instance:
        found = client.api.inspect_container(container_id)
        labels, state = found["Config"]["Labels"] or {}, found["State"]
        return Instance(
            id=found["Id"], name=found["Name"].lstrip("/"), vnf=labels.get(LABEL + "vnf", ""),
            server=labels.get(LABEL + "server", ""), pid=int(state["Pid"]), running=bool(state["Running"]),
            labels=labels,
        )  # fmt: skip

    def _check_alive(self, instance: Instance) -> None:
        with self.client() as client, _named(instance.name):
            if client.api.inspect_container(instance.id)["State"]["Running"]:
                return
            words = client.api.logs(instance.id, tail=1).decode(errors="replace").strip()
        raise ContainerError(f"{instance.name}: ended: {words or 'no last words'}")

    def _discard(self, client: DockerClient, container_id: str, name: str) -> None:
        with suppress(DockerException, RequestException):
            _remove(client, container_id)
        if self._local:
            shutil.rmtree(self._control_root / name, ignore_errors=True)

    def _remote_usage(self, instance: Instance) -> Usage:
        with self.client() as client, _named(instance.name):
            stats = client.api.stats(instance.id, stream=False)
        counters = self.ask(instance, "counters")
        cpu_s = stats["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9
        memory_mb = stats["memory_stats"].get("usage", 0) / 1e6
        return Usage(cpu_s, memory_mb, _whole(counters["rx_bytes"]), _whole(counters["tx_bytes"]))


def _create(client: DockerClient, name: str, config: Mapping[str, Any]) -> str:
    made: Mapping[str, str] = client.api.create_container_from_config(config, name)  # type: ignore[no-untyped-call]
    return made["Id"]


def _text(spec: InstanceSpec) -> str:
    return "\n".join(spec.config) + "\n"


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _remove(client: DockerClient, container_id: str) -> None:
    try:
        client.api.remove_container(container_id, force=True)
    except APIError as error:
        if error.status_code not in _GONE:
            raise


@contextmanager
def _named(name: str) -> Iterator[None]:
    """An error of the engine as ours, with the instance's name."""
    try:
        yield
    except ImageNotFound as error:
        raise ContainerError(f"{name}: image missing in the engine: {_reason(error)}") from None
    except DockerException as error:
        raise ContainerError(f"{name}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """One line of what an engine's error says."""
    text = getattr(error, "explanation", None) or str(error)
    return " ".join(str(text).split())[:300]
