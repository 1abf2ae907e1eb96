"""Log lines: JSON for programs, colours for the eye, and in both the decision that a line belongs to (docs/logs.md).

Every module logs with the standard library; `extra=` adds fields. What is bound by `about` is in all lines of the same
green thread, also in those of engine calls that it makes in native threads (`carrying`).
"""

from __future__ import annotations

import contextvars
import json
import logging
from collections.abc import Callable
from typing import Any, TextIO, TypeVar

import structlog
from structlog.contextvars import bound_contextvars

T = TypeVar("T")
LEVELS = ("debug", "info", "warning")
FORMATS = ("auto", "json", "text")
about = bound_contextvars  # `with about(decision="d7"):`


def bound(field: str) -> str:
    """What is bound to a field in this green thread, '' where nothing is."""
    return str(structlog.contextvars.get_contextvars().get(field, ""))


def set_up_logs(stream: TextIO, *, style: str = "auto", level: str = "info") -> None:
    """All of this process's log lines go to `stream`. `auto`: text where a person reads along, else JSON."""
    text = style == "text" or (style == "auto" and stream.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderer(stream, text=text)],
        )
    )
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def _renderer(stream: TextIO, *, text: bool) -> list[Any]:
    if not text:
        order = ["time", "level", "logger", "event", "decision", "migration", "vnf", "target"]
        return [structlog.processors.format_exc_info, _ordered(order), structlog.processors.JSONRenderer()]
    plain = structlog.dev.plain_traceback
    return [
        structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), timestamp_key="time", exception_formatter=plain, pad_event_to=0
        )
    ]


def _ordered(first: list[str]) -> Callable[[Any, str, dict[str, Any]], dict[str, Any]]:
    """The same fields at the same place in every line."""

    def order(_logger: Any, _method: str, fields: dict[str, Any]) -> dict[str, Any]:
        return {key: fields[key] for key in [*first, *sorted(fields)] if key in fields}

    return order


def carrying(run: Callable[..., T]) -> Callable[..., T]:
    """`run(work, ...)` in another thread, with what is bound in this one."""

    def carry(work: Callable[..., Any], *args: Any, **options: Any) -> T:
        return run(contextvars.copy_context().run, work, *args, **options)

    return carry


def last_words(log: str) -> str:
    """What the last line of a log says, for a person; '' of an empty one."""
    lines = [line for line in log.splitlines() if line.strip()]
    if not lines:
        return ""
    try:
        fields = json.loads(lines[-1])
    except ValueError:
        return lines[-1]
    return str(fields["event"]) if isinstance(fields, dict) and "event" in fields else lines[-1]
