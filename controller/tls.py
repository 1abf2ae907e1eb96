"""TLS towards switches: the files, and the one context for all connections (`controller.ryu_compat`, repair 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventlet.green import ssl  # Python's own would hold up the whole process while one switch shakes hands

from twin.errors import InputError


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of the controller's key and certificate, and of the authority that switches are checked by."""

    key: str
    certificate: str
    authority: str = ""


def tls_files(folder: Path | None) -> TlsFiles | None:
    """key.pem, cert.pem and ca.pem of a folder. InputError for one that is not there, or that is no sound PEM file."""
    if folder is None:
        return None
    files = [folder / name for name in ("key.pem", "cert.pem", "ca.pem")]
    if missing := [str(file) for file in files if not file.is_file()]:
        raise InputError(f"TLS for switches: no such file: {', '.join(missing)}")
    key, certificate, authority = map(str, files)
    try:
        server_context({"keyfile": key, "certfile": certificate, "ca_certs": authority})
    except (ssl.SSLError, OSError) as error:
        raise InputError(f"TLS for switches: the files in {folder} do not go together: {error}") from None
    return TlsFiles(key, certificate, authority)


def server_context(tls: Mapping[str, Any]) -> Any:
    """From Ryu's keyword arguments. With an authority, a switch must show a certificate of it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(tls["certfile"], tls["keyfile"])
    if tls.get("ca_certs"):
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(tls["ca_certs"])
    return context
