"""Tells open pages what is new. Level-triggered: it looks, several times a second, at what the controller says of
itself and publishes the difference; nothing that acts has to know of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import TypeVar

from controller.descriptions import Descriptions, finite
from controller.feed import Feed
from controller.loop import Loop
from controller.records import MigrationRecord, Observed
from controller.service import Service

LOOK_S = 0.1
HISTORY_KEPT = 1800  # readings: half an hour, one a second
LISTED = 200  # decisions, migrations and proposals that a page begins with
OPEN_LOOKED_AT = 40  # decisions and migrations at the end of their lists; older ones change no more
COLUMNS = (
    "run_s", "delay_ms", "expected_delay_ms", "stay_delay_ms", "advised_delay_ms",
    "power_w", "expected_power_w", "stay_power_w", "advised_power_w",
)  # fmt: skip
T = TypeVar("T")


class News:
    """Looks at one controller for all pages."""

    def __init__(self, feed: Feed, service: Service, loop: Loop, descriptions: Descriptions) -> None:
        self._feed, self._service, self._loop, self._said = feed, service, loop, descriptions
        self.history: deque[tuple[float | None, ...]] = deque(maxlen=HISTORY_KEPT)
        self._read_s = -1.0
        self._decisions: dict[int, Observed | None] = {}
        self._migrations: dict[str, tuple[object, ...]] = {}
        self._proposals: object = None
        self._mode, self._missing = loop.mode.value, service.missing_links()

    def look(self) -> None:
        """Publishes what has changed since the last look."""
        self._look_at_migrations()
        self._look_at_decisions()
        self._look_at_proposals()
        self._look_at_readings()

    def snapshot(self) -> dict[str, object]:
        """All that a page shows, at once."""
        return {
            "topology": self._said.describe("topology"),
            "reading": self.reading(),
            "columns": COLUMNS,
            "history": list(self.history),
            "decisions": [self._said.decision(record) for record in _last(self._loop.decisions, LISTED)],
            "migrations": [self._said.migration(record) for record in self._migration_records(LISTED)],
            "proposals": self._said.describe("proposals")[-LISTED:],
        }

    def reading(self) -> dict[str, object]:
        """What is measured now."""
        state = self._service.state
        switches = self._service.scenario.switches
        places = [] if state is None else [switches[i].id for i in state.endpoint_switch]
        endpoints = (endpoint.id for endpoint in self._service.scenario.endpoints)
        return {
            "state": self._said.describe("state"),
            "servers": self._said.describe("servers"),
            "links": self._said.describe("links"),
            "endpoints": dict(zip(endpoints, places, strict=False)),
        }

    def _look_at_readings(self) -> None:
        state, mode, missing = self._service.state, self._loop.mode.value, self._service.missing_links()
        if state is not None and state.at_s != self._read_s:
            self._read_s = state.at_s
            if self._loop.would_have is not None:
                self._loop.would_have.take(state, self._service.routes())
            self.history.append(self._row())
            self._feed.publish("reading", lambda: {**self.reading(), "row": self.history[-1]})
        elif mode != self._mode or missing != self._missing:
            self._feed.publish("reading", self.reading)  # a link that breaks need not wait for the next poll
        self._mode, self._missing = mode, missing

    def _look_at_decisions(self) -> None:
        seen: dict[int, Observed | None] = {}
        for record in _last(self._loop.decisions, OPEN_LOOKED_AT):
            seen[record.id] = observed = self._said.observed(record)
            if record.id not in self._decisions or self._decisions[record.id] != observed:
                self._feed.publish("decision", lambda r=record: self._said.decision(r))  # type: ignore[misc]
        self._decisions = seen

    def _look_at_migrations(self) -> None:
        seen: dict[str, tuple[object, ...]] = {}
        for record in self._migration_records(OPEN_LOOKED_AT):
            seen[record.id] = mark = _mark(record)
            if (known := self._migrations.get(record.id)) != mark:
                if record.is_final and (known is None or known[0] != mark[0]):
                    self._feed.publish("reading", self.reading)  # what it led to, at once
                self._feed.publish("migration", lambda r=record: self._said.migration(r))  # type: ignore[misc]
        self._migrations = seen

    def _look_at_proposals(self) -> None:
        last = self._loop.proposals.all[-1] if self._loop.proposals.all else None
        mark = last and (last.id, last.status, last.prediction)
        if mark != self._proposals:
            self._proposals = mark
            self._feed.publish("proposals", lambda: self._said.describe("proposals")[-LISTED:])

    def _migration_records(self, count: int) -> list[MigrationRecord]:
        records = self._service.migrations.records
        return list(islice(reversed(records.values()), count))[::-1]

    def _row(self) -> tuple[float | None, ...]:
        moment, advised = self._service.accounts.moment, self._loop.would_have and self._loop.would_have.now
        run_s = self._read_s - self._service.started_s
        if moment is None:
            return (run_s, *[None] * (len(COLUMNS) - 1))
        values = (
            run_s, moment.delay_ms, moment.expected.mean_delay_ms, moment.stay.mean_delay_ms,
            advised.mean_delay_ms if advised else None,
            moment.power_w, moment.expected.total_power_w, moment.stay.total_power_w,
            advised.total_power_w if advised else None,
        )  # fmt: skip
        return tuple(None if value is None else _rounded(value) for value in values)


def _mark(record: MigrationRecord) -> tuple[object, ...]:
    """What changes of a migration while it goes on, and a while after."""
    took_ms = record.steps[-1].took_ms if record.steps else 0.0
    return (
        record.status, len(record.steps), took_ms, record.observed_delay_after_ms, record.observed, record.probes_lost
    )  # fmt: skip


def _rounded(value: float) -> float | None:
    known = finite(value)
    return None if known is None else round(known, 3)


def _last(records: Sequence[T] | deque[T], count: int) -> list[T]:
    return list(islice(records, max(0, len(records) - count), None))
