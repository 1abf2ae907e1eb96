"""The journal must give back every observation bit for bit."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from controller.journal import Journal, read_samples, replay, state_digest
from twin.samples import Quantity, Sample
from twin.scenario_file import load_scenario
from twin.state import StateBuilder

SCENARIO = load_scenario("small")


def _samples(seed: int, at_s: float) -> list[Sample]:
    rng = np.random.default_rng(seed)
    chains = [Sample(at_s, c.id, Quantity.CHAIN_DELAY, float(rng.uniform(1, 50))) for c in SCENARIO.chains]
    links = [Sample(at_s, li.id, Quantity.LINK_DELAY, float(rng.uniform(1, 9))) for li in SCENARIO.links]
    return chains + links + [Sample(at_s, "c1", Quantity.SERVER_CPU, float(rng.uniform(0, 0.3)))]


def _record(path: Path) -> list[str]:
    journal, builder, digests = Journal(path), StateBuilder(SCENARIO), []
    for slot in range(5):
        samples = _samples(slot, 10.0 + slot)
        builder.add(samples)
        journal.add_samples(samples)
        state = builder.build(10.5 + slot)
        journal.add_decision(state, {"decision": "stay", "slot": slot})
        digests.append(state_digest(state))
    journal.close()
    return digests


def test_a_replay_rebuilds_every_observation_bit_for_bit(tmp_path: Path) -> None:
    digests = _record(tmp_path / "j.db")
    replayed = list(replay(tmp_path / "j.db", SCENARIO))
    assert [state_digest(state) for _, state in replayed] == digests
    assert [decision.digest for decision, _ in replayed] == digests
    assert len(set(digests)) == 5


def test_one_changed_bit_is_noticed(tmp_path: Path) -> None:
    _record(tmp_path / "j.db")
    with sqlite3.connect(tmp_path / "j.db") as db:
        (value,) = db.execute("SELECT value FROM samples WHERE rowid = 1").fetchone()
        db.execute("UPDATE samples SET value = ? WHERE rowid = 1", (float(np.nextafter(value, 100.0)),))
    decision, state = next(replay(tmp_path / "j.db", SCENARIO))
    assert state_digest(state) != decision.digest


def test_a_journal_is_continued_not_overwritten(tmp_path: Path) -> None:
    _record(tmp_path / "j.db")
    before = read_samples(tmp_path / "j.db")
    journal = Journal(tmp_path / "j.db")
    assert journal.samples_written == len(before)
    journal.add_samples(_samples(9, 99.0))
    journal.close()
    assert read_samples(tmp_path / "j.db")[: len(before)] == before


def test_a_migrations_key_is_kept_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db")
    journal.put_migration("m1", 1.0, "key", {"status": "pending"})
    journal.put_migration("m1", 1.0, "key", {"status": "done"})
    journal.add_step("m1", 0, 1.0, "begin", {"step": "start"})
    journal.close()
    with sqlite3.connect(tmp_path / "j.db") as db:
        assert db.execute("SELECT id, body FROM migrations").fetchall() == [("m1", '{"status": "done"}')]
        with pytest.raises(sqlite3.IntegrityError):
            db.execute("INSERT INTO migrations VALUES ('m2', 2.0, 'key', '{}')")


def test_a_restart_forgets_in_the_replay_too(tmp_path: Path) -> None:
    """A restarted controller knows nothing of the samples before: its observations are rebuilt from its own."""
    path, digests = tmp_path / "j.db", []
    for start in range(2):
        journal, builder = Journal(path), StateBuilder(SCENARIO)
        journal.note_start(10.0 * start)
        for slot in range(3):
            samples = _samples(10 * start + slot, 10.0 * start + slot)[: 3 + start]
            builder.add(samples)
            journal.add_samples(samples)
            state = builder.build(10.0 * start + slot + 0.5)
            journal.add_decision(state, {"slot": slot})
            digests.append(state_digest(state))
        journal.add_samples(_samples(99, 10.0 * start + 5))  # seen, and nothing decided on it
        journal.close()
    assert [state_digest(state) for _, state in replay(path, SCENARIO)] == digests


def test_plans_steps_and_keys_are_read_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db")
    journal.put_migration("m1", 1.0, "k", {"id": "m1", "status": "running"})
    journal.put_plan("m1", {"is": "plan"})
    journal.add_step("m1", 0, 1.5, "begin", {"undoing": False, "step": 1})
    journal.put_migration("m2", 2.0, None, {"id": "m2", "status": "pending"})
    journal.put_migration("m1", 1.0, "k", {"id": "m1", "status": "done"})
    journal.close()
    again = Journal(tmp_path / "j.db")
    assert [body["id"] for body in again.migrations(10)] == ["m1", "m2"]  # in the order of the requests
    assert [body["id"] for body in again.migrations(1)] == ["m2"]
    assert again.migration_by_key("k") == {"id": "m1", "status": "done"}
    assert again.migration_by_key("other") is None
    assert (again.plan("m1"), again.plan("m2")) == ({"is": "plan"}, None)
    assert [(step.number, step.phase) for step in again.steps("m1")] == [(0, "begin")]
    again.close()
