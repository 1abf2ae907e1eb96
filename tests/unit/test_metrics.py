"""Metrics are read from descriptions at scrape time; names obey the naming rules."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from controller.metrics import ControllerMetrics

SERVERS = [
    {"id": "e1", "up": True, "awake": True, "cpu": 0.5, "memory": 0.25, "power_w": 120.0, "delay_ms": 0.4},
    {"id": "c1", "up": False, "awake": False, "cpu": 0.0, "memory": 0.0, "power_w": 10.0, "delay_ms": None},
]
LINKS = [{"id": "a-b", "up": True, "delay_ms": 4.0, "forward_mbps": 1.5, "backward_mbps": 0.0}]
CHAINS = [{"id": "web1", "delay_ms": 12.0, "expected_delay_ms": 11.0, "loss": 0.0, "offered_mbps": 0.7}]
STATE: dict[str, Any] = {
    "policy": "a2c", "chains": CHAINS, "placement": {"web1.nat": "e1"}, "delay_ms": 12.0, "expected_delay_ms": None,
    "stay_delay_ms": 30.0, "power_w": 130.0, "stay_power_w": 300.0, "energy_j": 5.0, "stay_energy_j": 9.0,
    "handler_errors": 0, "samples_ignored": 2, "rules_repaired": 1, "rules_alien": 0, "instances_surplus": 0,
    "energy_label": "modelled",
    "migrations_by_mode": {"cold": {"moves": 2, "took_ms": 1500.0, "silence_ms": None}},
    "migrations_by_status": {"done": 3, "rolled_back": 0}, "refusals": {"cooldown": 4},
    "messages_refused": {"TABLE_FULL": 2}, "answers_late": {"core1": 1},
    "confirmations": {"confirmed": 5, "unconfirmed": 1},
    "oldest_reading_s": {"chain_delay": 0.5, "link_delay": None},
}  # fmt: skip


class Describing:
    def describe(self, what: str) -> Any:
        return {"state": STATE, "servers": SERVERS, "links": LINKS}[what]


@pytest.fixture
def scraped() -> dict[str, Any]:
    text = ControllerMetrics(Describing()).render().decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def _value(family: Any, **labels: str) -> float:
    (sample,) = [s for s in family.samples if s.labels == labels and not s.name.endswith("_created")]
    return float(sample.value)


def test_units_are_base_units(scraped: dict[str, Any]) -> None:
    assert _value(scraped["vnftwin_chain_delay_seconds"], chain="web1") == pytest.approx(0.012)
    assert _value(scraped["vnftwin_chain_offered_bits_per_second"], chain="web1") == pytest.approx(7e5)
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
    assert _value(scraped["vnftwin_answers_late"], switch="core1") == 1
    assert scraped["vnftwin_migrations"].type == "counter"
    assert _value(scraped["vnftwin_moves"], mode="cold") == 2
    assert _value(scraped["vnftwin_move_seconds"], mode="cold") == 1.5
    assert scraped["vnftwin_move_silence_seconds"].samples == []  # it was not measured
    assert _value(scraped["vnftwin_vnf_placement"], vnf="web1.nat", server="e1") == 1


def test_two_controllers_do_not_share_a_registry() -> None:
    first, second = ControllerMetrics(Describing()), ControllerMetrics(Describing())
    first.decision_s.observe(0.003)
    assert b"vnftwin_decision_seconds_count 1.0" in first.render()
    assert b"vnftwin_decision_seconds_count 0.0" in second.render()
