"""Requests that a browser sends on behalf of a page that is not ours.

Without a token anybody on this machine may steer, but a web page that somebody here happens to look at may not: neither
by sending a form to a loopback address, nor by a name of its own that it lets point there.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from webob import Request


def foreign_origin(request: Request, *, guarded: bool) -> str:
    """Why a request is not answered, '' where it is. `guarded`: a token is asked for, which no other page has."""
    host = urlsplit(f"//{request.host}").hostname or ""
    if not guarded and not _is_loopback(host):
        return f"{host} is no name of a loopback address: use localhost or 127.0.0.1"
    origin = request.headers.get("Origin")
    if origin and request.method not in ("GET", "HEAD") and urlsplit(origin).netloc != request.host:
        return f"not asked for by a page of another origin ({origin})"
    return ""


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
