"""Log lines: JSON or text, and the decision that each belongs to, from the decision to the outcome of its move."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import eventlet
import eventlet.tpool
import pytest

from agent.baselines import GreedyPolicy, StayPolicy
from controller.logs import about, bound, carrying, last_words, set_up_logs
from controller.records import Mode
from tests.fakes.service import Control
from twin.scenario_file import load_scenario

SMALL = load_scenario("small")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where log lines go during a test; what went before is put back."""
    with _restored():
        yield io.StringIO()


@contextmanager
def _restored() -> Iterator[None]:
    """Puts back what a test makes of the root logger. By `setLevel`: loggers remember which levels are enabled."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def _lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def _decided_and_moved() -> Control:
    control = Control(SMALL, GreedyPolicy())
    while not control.service.begun:
        control.loop.tick()
        control.service.next_period()
    control.service.end_move()
    return control


def test_off_a_terminal_a_line_is_a_json_object(stream: io.StringIO) -> None:
    set_up_logs(stream)
    logging.getLogger("vnftwin.x").warning("it is %s", "so", extra={"took_ms": 1.5})
    (line,) = _lines(stream)
    assert list(line)[:4] == ["time", "level", "logger", "event"]
    assert (line["level"], line["logger"], line["event"], line["took_ms"]) == ("warning", "vnftwin.x", "it is so", 1.5)


def test_an_exception_stays_within_its_line(stream: io.StringIO) -> None:
    set_up_logs(stream)
    try:
        raise ZeroDivisionError("by nothing")
    except ZeroDivisionError:
        logging.getLogger("vnftwin.x").exception("failed")
    (line,) = _lines(stream)
    assert "ZeroDivisionError: by nothing" in line["exception"]


def test_on_a_terminal_a_line_is_for_the_eye() -> None:
    terminal = Terminal()
    with _restored():
        set_up_logs(terminal)
        logging.getLogger("vnftwin.x").warning("it is so")
    assert "it is so" in terminal.getvalue()
    assert not terminal.getvalue().lstrip().startswith("{")


def test_one_id_goes_through_all_lines_of_a_decision(stream: io.StringIO) -> None:
    set_up_logs(stream)
    control = _decided_and_moved()
    (record,) = control.records
    lines = [line for line in _lines(stream) if line.get("decision") == record.decision]
    assert record.decision == f"d{control.loop.decisions[-1].id}"
    told = [line["logger"] for line in lines]
    assert told[:3] == ["vnftwin.loop", "vnftwin.loop", "vnftwin.migrations"]  # decided, verdict, migration
    assert [line["step"] for line in lines if "step" in line] == [step.name for step in record.steps]
    assert [line["status"] for line in lines if "status" in line] == ["done"]
    assert lines[-1]["event"] == f"observed of {record.id}"
    assert {line["migration"] for line in lines[2:]} == {record.id}


def test_what_no_policy_decided_has_its_own_id(stream: io.StringIO) -> None:
    set_up_logs(stream)
    control = Control(SMALL, StayPolicy(), mode=Mode.MANUAL)
    control.descriptions.request_migration("web1.nat", "e2", None)
    control.service.end_move()
    assert control.records[0].decision == "m1"
    assert {line["decision"] for line in _lines(stream) if "migration" in line} == {"m1"}


def test_ids_go_on_where_the_journal_ends() -> None:
    control = Control(SMALL, StayPolicy())
    control.service.journal.decisions_before = 41
    again = type(control.loop)(
        control.service, control.loop.decider, control.service.journal, mode=Mode.AUTO,
        observe_decision=lambda _took: None,
    )  # fmt: skip
    again.tick()
    assert again.decisions[-1].id == 42


def test_green_threads_and_their_native_ones_keep_what_is_bound() -> None:
    seen: list[tuple[str, str, str]] = []

    def work(name: str) -> None:
        with about(decision=name):
            eventlet.sleep(0.001)
            seen.append((name, bound("decision"), carrying(eventlet.tpool.execute)(bound, "decision")))

    for thread in [eventlet.spawn(work, name) for name in ("d1", "d2")]:
        thread.wait()
    assert sorted(seen) == [("d1", "d1", "d1"), ("d2", "d2", "d2")]
    assert bound("decision") == ""


@pytest.mark.parametrize(
    ("log", "words"),
    [("", ""), ("a\nb\n\n", "b"), ('{"event": "it ended", "level": "error"}\n', "it ended"), ("{}\n", "{}")],
)
def test_last_words(log: str, words: str) -> None:
    assert last_words(log) == words
