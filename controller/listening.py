"""Listening sockets for REST, opened before anything else is started, so that a taken address is told at once."""

from __future__ import annotations

import socket

from twin.errors import InputError


def listening_socket(host: str, port: int) -> socket.socket:
    """A listening TCP socket. InputError when the address is taken or is not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(64)
    except OSError as error:
        listener.close()
        raise InputError(f"cannot listen on {host}:{port}: {error.strerror} (choose another with --listen)") from None
    return listener


def page_address(host: str, port: int) -> str:
    """What a person types into a browser on this machine; a wildcard address is none."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"
