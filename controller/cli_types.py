"""What arguments of commands may be, told in words where they are not."""

from __future__ import annotations

import argparse


def seconds(text: str) -> float:
    value = float(text)
    if not 1.0 <= value <= 1e6:
        raise argparse.ArgumentTypeError("must be between 1 and 1000000 seconds")
    return value


def address(text: str) -> tuple[str, int]:
    host, separator, port = text.rpartition(":")
    if not separator or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)
