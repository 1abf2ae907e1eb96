"""The journal: every sample, decision and migration step of a run, in one SQLite file (WAL mode).

Samples are kept in the order in which the state builder saw them; a decision holds how many samples came before it
and a digest of the observation it was made from, so that `replay` can rebuild each observation and prove it the same.

What was written outlives the process, however it ends. After a loss of power the newest rows may be missing
(synchronous=NORMAL: a sync to disk would hold up the event loop); what switches and engines say then counts for more
than the journal (`controller.recovery`).
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from twin.samples import Quantity, Sample
from twin.scenario import Scenario
from twin.state import NetworkState, StateBuilder

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS samples (at_s REAL NOT NULL, subject TEXT NOT NULL, quantity TEXT NOT NULL,
                                    value REAL NOT NULL);
CREATE TABLE IF NOT EXISTS decisions (id INTEGER PRIMARY KEY, at_s REAL NOT NULL, samples INTEGER NOT NULL,
                                      digest TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS migrations (id TEXT PRIMARY KEY, at_s REAL NOT NULL, key TEXT UNIQUE, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS plans (migration TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS starts (at_s REAL NOT NULL, samples INTEGER NOT NULL, decisions INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS steps (migration TEXT NOT NULL, number INTEGER NOT NULL, at_s REAL NOT NULL,
                                  phase TEXT NOT NULL, body TEXT NOT NULL);
"""


def state_digest(state: NetworkState) -> str:
    """SHA-256 over every array of a state, bit for bit; two states with one digest are the same observation."""
    digest = hashlib.sha256()
    digest.update(np.float64(state.at_s).tobytes())
    digest.update(json.dumps(dict(state.placement.hosts), sort_keys=True).encode())
    for name in sorted(state.__dataclass_fields__):
        value = getattr(state, name)
        if isinstance(value, np.ndarray):
            digest.update(name.encode() + value.tobytes())
    for quantity in Quantity:
        digest.update(state.age_s[quantity].tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class JournalledDecision:
    """One decision as it was written: `samples` is how many samples came before it."""

    at_s: float
    samples: int
    digest: str
    body: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class JournalledStep:
    """A step's beginning or end (`phase`); the body of a beginning holds the step itself."""

    number: int
    phase: str
    body: Mapping[str, object]


class Journal:
    """Appends to the file at `path`; one writer, safe to call from several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)
        (self.samples_written,) = self._db.execute("SELECT COUNT(*) FROM samples").fetchone()
        (self.decisions_before,) = self._db.execute("SELECT COUNT(*) FROM decisions").fetchone()

    def note_start(self, at_s: float) -> None:
        """A controller begins here, knowing nothing of the samples before."""
        self._write("INSERT INTO starts VALUES (?, ?, ?)", [(at_s, self.samples_written, self.decisions_before)])

    def note(self, key: str, value: object) -> None:
        """Keeps one fact about the run (scenario, policy, seed, versions)."""
        self._write("INSERT OR REPLACE INTO meta VALUES (?, ?)", [(key, json.dumps(value))])

    def noted(self, key: str) -> object:
        """A fact that was kept, None where it was not."""
        rows = self._read("SELECT value FROM meta WHERE key = ?", (key,))
        return json.loads(rows[0][0]) if rows else None

    def add_samples(self, samples: Iterable[Sample]) -> None:
        rows = [(s.at_s, s.subject, s.quantity.value, s.value) for s in samples]
        self._write("INSERT INTO samples VALUES (?, ?, ?, ?)", rows)
        self.samples_written += len(rows)

    def add_decision(self, state: NetworkState, body: Mapping[str, object]) -> None:
        row = (state.at_s, self.samples_written, state_digest(state), json.dumps(body))
        self._write("INSERT INTO decisions (at_s, samples, digest, body) VALUES (?, ?, ?, ?)", [row])

    def put_migration(self, ident: str, at_s: float, key: str | None, body: Mapping[str, object]) -> None:
        """Writes a migration's record, or writes it anew."""
        statement = "INSERT INTO migrations VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body"
        self._write(statement, [(ident, at_s, key, json.dumps(body))])

    def migrations(self, last: int) -> list[Mapping[str, object]]:
        """The records of the `last` migrations, oldest first, each as it was written last."""
        rows = self._read("SELECT body FROM migrations ORDER BY rowid DESC LIMIT ?", (last,))
        return [json.loads(body) for (body,) in reversed(rows)]

    def migration_by_key(self, key: str) -> Mapping[str, object] | None:
        """The record of the migration that was requested with this idempotency key."""
        rows = self._read("SELECT body FROM migrations WHERE key = ?", (key,))
        return json.loads(rows[0][0]) if rows else None

    def put_plan(self, migration: str, plan: object) -> None:
        """Keeps what a migration is going to do, as JSON (`controller.plan_json`), before it is done."""
        self._write("INSERT OR REPLACE INTO plans VALUES (?, ?)", [(migration, json.dumps(plan))])

    def plan(self, migration: str) -> object:
        """The JSON of a migration's plan, None where it was never made."""
        rows = self._read("SELECT body FROM plans WHERE migration = ?", (migration,))
        return json.loads(rows[0][0]) if rows else None

    def steps(self, migration: str) -> list[JournalledStep]:
        """Every beginning and end of a step of a migration, in the order they were written."""
        rows = self._read("SELECT number, phase, body FROM steps WHERE migration = ? ORDER BY rowid", (migration,))
        return [JournalledStep(number, phase, json.loads(body)) for number, phase, body in rows]

    def add_step(self, migration: str, number: int, at_s: float, phase: str, body: Mapping[str, object]) -> None:
        """`phase` is `begin` or `end`: a step without its end is the one that was cut off."""
        self._write("INSERT INTO steps VALUES (?, ?, ?, ?, ?)", [(migration, number, at_s, phase, json.dumps(body))])

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _read(self, statement: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(statement, values).fetchall()

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        with self._lock:
            self._db.execute("BEGIN")
            try:
                self._db.executemany(statement, rows)
            except sqlite3.Error:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")


def read_samples(path: Path) -> list[Sample]:
    """All samples of a journal, in the order in which they were taken in."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        rows = db.execute("SELECT at_s, subject, quantity, value FROM samples ORDER BY rowid").fetchall()
    return [Sample(at, subject, Quantity(quantity), value) for at, subject, quantity, value in rows]


def read_decisions(path: Path) -> list[JournalledDecision]:
    """All decisions of a journal, oldest first."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        rows = db.execute("SELECT at_s, samples, digest, body FROM decisions ORDER BY id").fetchall()
    return [JournalledDecision(at, samples, digest, json.loads(body)) for at, samples, digest, body in rows]


def replay(path: Path, scenario: Scenario) -> Iterator[tuple[JournalledDecision, NetworkState]]:
    """Rebuilds the state behind every decision from the samples alone; compare `state_digest` with `digest`."""
    builder, samples, taken = StateBuilder(scenario), read_samples(path), 0
    starts = _read_starts(path)
    for number, decision in enumerate(read_decisions(path)):
        while starts and starts[0][0] <= number:  # a controller began here, knowing nothing
            builder, taken = StateBuilder(scenario), starts.pop(0)[1]
        builder.add(samples[taken : decision.samples])
        taken = decision.samples
        yield decision, builder.build(decision.at_s)


def _read_starts(path: Path) -> list[tuple[int, int]]:
    """How many decisions and samples had been written at each start of a controller."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        return db.execute("SELECT decisions, samples FROM starts ORDER BY rowid").fetchall()
