"""How a Docker engine is reached: unix socket, `tcp://` with TLS, or `ssh://`; each as the `docker` SDK wants it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import eventlet.patcher
from docker.client import DockerClient
from docker.tls import TLSConfig

from twin.errors import InputError

_API_TIMEOUT_S = 30


def engine_connection(url: str, tls: str = "") -> Callable[[], DockerClient]:
    """What makes a client for an engine. InputError where `tls` (a folder) lacks ca.pem, cert.pem or key.pem, and for
    `ssh://` where threads are green ones: the SDK's SSH has a thread of its own, and callers in others wait for it.
    """
    config = _tls_config(Path(tls)) if tls else False
    if url.startswith("ssh://") and eventlet.patcher.is_monkey_patched("thread"):
        raise InputError(f"{url} needs threads of the system's: start `vnftwin controller`, or our own `ryu-manager`")

    def connect() -> DockerClient:
        return DockerClient(base_url=url, version="auto", timeout=_API_TIMEOUT_S, tls=config)

    return connect


class _OurAuthority(TLSConfig):
    """Deaf to the environment: there REQUESTS_CA_BUNDLE would take the place of the engine's authority."""

    def configure_client(self, client: Any) -> None:
        super().configure_client(client)
        client.trust_env = False


def _tls_config(folder: Path) -> TLSConfig:
    """The engine is checked by ca.pem, and we show cert.pem. InputError for a file that is not there."""
    authority, certificate, key = (folder / name for name in ("ca.pem", "cert.pem", "key.pem"))
    missing = [str(file) for file in (authority, certificate, key) if not file.is_file()]
    if missing:
        raise InputError(f"TLS for an engine: no such file: {', '.join(missing)}")
    return _OurAuthority(client_cert=(str(certificate), str(key)), ca_cert=str(authority), verify=True)
