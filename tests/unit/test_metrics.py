"""Metrics are read from descriptions at scrape time; names obey the naming rules."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.baselines import StayPolicy
from controller.metrics import ControllerMetrics
from controller.records import MigrationRecord, MigrationStatus
from tests.fakes.service import Control
from twin.scenario_file import load_scenario

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"

SERVERS = [
    {"id": "e1", "up": True, "awake": True, "cpu": 0.5, "memory": 0.25, "power_w": 120.0, "delay_ms": 0.4},
    {"id": "c1", "up": False, "awake": False, "cpu": 0.0, "memory": 0.0, "power_w": 10.0, "delay_ms": None},
]
LINKS = [
    {
        "id": "a-b",
        "up": True,
        "delay_ms": 4.0,
        "forward_mbps": 1.5,
        "backward_mbps": 0.0,
        "bandwidth_mbps": 100.0,
        "configured_delay_ms": 5.0,
    }
]
CHAINS = [
    {
        "id": "web1",
        "delay_ms": 12.0,
        "expected_delay_ms": 11.0,
        "loss": 0.0,
        "offered_mbps": 0.8,
        "stay_delay_ms": 20.0,
        "max_delay_ms": 40.0,
        "changing": False,
        "probes": {"sent": 9, "returned": 8, "lost": 1},
    }
]
STATE: dict[str, Any] = {
    "policy": "a2c", "scenario": "small", "world": "live", "waiting_for": "", "mode": "advise",
    "switches": {"core1": True, "core2": False}, "decisions_by_outcome": {"stay": 7, "move": 2},
    "chains": CHAINS, "placement": {"web1.nat": "e1"}, "delay_ms": 12.0, "expected_delay_ms": None,
    "stay_delay_ms": 30.0, "power_w": 130.0, "stay_power_w": 300.0, "energy_j": 5.0, "stay_energy_j": 9.0,
    "handler_errors": 0, "samples_ignored": 2, "rules_repaired": 1, "rules_alien": 0, "instances_surplus": 0,
    "energy_label": "modelled",
    "migrations_by_mode": {"cold": {"moves": 2, "took_ms": 1500.0, "silence_ms": 4.0}},
    "migrations_by_status": {"done": 3, "rolled_back": 0}, "refusals": {"cooldown": 4},
    "messages_refused": {"TABLE_FULL": 2}, "answers_late": {"core1": 1},
    "confirmations": {"confirmed": 5, "unconfirmed": 1},
    "twin": {
        "learned": True, "trusted": False, "share": {"web1": 0.25}, "error_ratio": {"delay": 0.7},
        "hold_out": {"delay": 0.6},
    },
    "oldest_reading_s": {"chain_delay": 0.5, "link_delay": None},
}  # fmt: skip


class Describing:
    def __init__(self, state: dict[str, Any] = STATE) -> None:
        self._state = state

    def describe(self, what: str) -> Any:
        return {"state": self._state, "servers": SERVERS, "links": LINKS}[what]


@pytest.fixture
def scraped() -> dict[str, Any]:
    text = ControllerMetrics(Describing()).render().decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def _value(family: Any, **labels: str) -> float:
    (sample,) = [s for s in family.samples if s.labels == labels and not s.name.endswith("_created")]
    return float(sample.value)


def test_units_are_base_units(scraped: dict[str, Any]) -> None:
    assert _value(scraped["vnftwin_chain_delay_seconds"], chain="web1") == pytest.approx(0.012)
    assert _value(scraped["vnftwin_chain_offered_bytes_per_second"], chain="web1") == pytest.approx(1e5)
    assert _value(scraped["vnftwin_server_power_watts"], server="c1") == 10.0


def test_what_is_not_known_is_absent_not_zero(scraped: dict[str, Any]) -> None:
    assert "vnftwin_expected_delay_seconds" not in scraped
    rows = scraped["vnftwin_server_processing_delay_seconds"].samples
    assert [row.labels["server"] for row in rows] == ["e1"]
    assert [row.labels["quantity"] for row in scraped["vnftwin_reading_age_seconds"].samples] == ["chain_delay"]


def test_counters_and_labels(scraped: dict[str, Any]) -> None:
    assert _value(scraped["vnftwin_migrations"], status="done") == 3
    assert _value(scraped["vnftwin_refusals"], reason="cooldown") == 4
    assert _value(scraped["vnftwin_messages_refused"], error="TABLE_FULL") == 2
    assert _value(scraped["vnftwin_confirmations"], result="unconfirmed") == 1
    assert _value(scraped["vnftwin_twin_error_ratio"], head="delay") == 0.7
    assert _value(scraped["vnftwin_twin_held_out_error_ratio"], head="delay") == 0.6
    assert _value(scraped["vnftwin_twin_trusted"]) == 0.0
    assert _value(scraped["vnftwin_twin_share"], chain="web1") == 0.25
    assert _value(scraped["vnftwin_answers_late"], switch="core1") == 1
    assert _value(scraped["vnftwin_chain_probes_lost"], chain="web1") == 1
    assert _value(scraped["vnftwin_mode"], mode="advise") == 1
    assert _value(scraped["vnftwin_mode"], mode="auto") == 0
    assert scraped["vnftwin_migrations"].type == "counter"
    assert _value(scraped["vnftwin_moves"], mode="cold") == 2
    assert _value(scraped["vnftwin_move_seconds"], mode="cold") == 1.5
    assert _value(scraped["vnftwin_move_silence_seconds"], mode="cold") == pytest.approx(0.004)
    assert _value(scraped["vnftwin_vnf_placement"], vnf="web1.nat", server="e1") == 1


def test_counters_whose_labels_are_known_begin_at_zero(scraped: dict[str, Any]) -> None:
    assert _value(scraped["vnftwin_refusals"], reason="min_gain") == 0
    assert _value(scraped["vnftwin_answers_late"], switch="core2") == 0
    steps = {sample.labels["step"] for sample in scraped["vnftwin_migration_step_seconds"].samples}
    assert {"StartVnf", "SwapEntry", "Drain", "StopVnf"} < steps


def _documented() -> dict[str, tuple[str, frozenset[str]]]:
    """Name -> type and labels, of every row of docs/metrics.md."""
    rows = [line.split("|") for line in DOCS.read_text().splitlines() if line.startswith("| `vnftwin_")]
    return {
        re.findall(r"`(.*)`", row[1])[0]: (row[2].strip(), frozenset(re.findall(r"`(\w+)`", row[4]))) for row in rows
    }


def _exported(text: str) -> dict[str, tuple[str, frozenset[str]]]:
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for family in text_string_to_metric_families(text):
        if not family.name.startswith("process_"):
            labels = frozenset(label for sample in family.samples for label in sample.labels) - {"le"}
            suffix = "_total" if family.type == "counter" else ""
            found[family.name + suffix] = (family.type, labels)
    return found


def test_every_metric_is_documented_with_its_type_and_labels() -> None:
    state = STATE | {"expected_delay_ms": 11.0}
    assert _exported(ControllerMetrics(Describing(state)).render().decode()) == _documented()


def test_a_scrape_of_a_thousand_moves_has_as_many_series_as_one_of_ten() -> None:
    control = Control(load_scenario("small"), StayPolicy())
    migrations = control.service.migrations

    def moves(count: int) -> int:
        for number in range(len(migrations.records), count):
            record = MigrationRecord(f"x{number}", "web1.nat", "c1", "e2", "asked for", float(number), mode="cold")
            migrations.ended(record, MigrationStatus.DONE, "")
            record.silence_ms = 5.0
            migrations.records[record.id] = record
        lines = control.descriptions.metrics().decode().splitlines()
        return sum(not line.startswith("#") for line in lines)

    assert moves(10) == moves(1000) < 600


def test_two_controllers_do_not_share_a_registry() -> None:
    first, second = ControllerMetrics(Describing()), ControllerMetrics(Describing())
    first.decision_s.observe(0.003)
    assert b"vnftwin_decision_seconds_count 1.0" in first.render()
    assert b"vnftwin_decision_seconds_count 0.0" in second.render()
