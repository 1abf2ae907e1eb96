"""What the bodies of REST look like, as JSON Schema. Every object is closed: a key that is not here is not sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.proposals import ProposalStatus
from controller.records import MigrationStatus, Mode

Schema = dict[str, Any]
MAX_TEXT = 200  # of a name or key in a request

NUMBER: Schema = {"type": "number"}
MAYBE: Schema = {"type": ["number", "null"]}  # null: not known, or not yet
COUNT: Schema = {"type": "integer", "minimum": 0}
TEXT: Schema = {"type": "string"}
YES_NO: Schema = {"type": "boolean"}
NAME: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT}
PATH: Schema = {"type": "string", "minLength": 1, "maxLength": 4096}
# printable ASCII: it is kept in the journal and told in the log
KEY: Schema = {"type": "string", "pattern": "^[ -~]+$", "minLength": 1, "maxLength": MAX_TEXT}


def reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def one_of(values: Any) -> Schema:
    return {"type": "string", "enum": [str(value) for value in values]}


def array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def table(values: Schema) -> Schema:
    """An object whose keys are names."""
    return {"type": "object", "additionalProperties": values}


def maybe(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def closed(properties: Mapping[str, Schema], *, optional: tuple[str, ...] = ()) -> Schema:
    """An object with these keys and no other; all are there but the optional ones."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": dict(properties), "required": required, "additionalProperties": False}


def _all(kind: Schema, *names: str) -> dict[str, Schema]:
    return dict.fromkeys(names, kind)


_QUANTILES = closed({"count": COUNT, **_all(NUMBER, "p50", "p99")})
_PREDICTION = ("delay_now_ms", "delay_after_ms", "power_now_w", "power_after_w")
_CHAIN = closed({
    "id": TEXT, **_all(array(TEXT), "vnfs", "modes", "servers"), "path": array(array(TEXT)),
    **_all(NUMBER, "offered_mbps", "max_delay_ms", "loss"),
    **_all(MAYBE, "delay_ms", "expected_delay_ms", "stay_delay_ms", "stay_delay_mean_ms"),
    "probes": closed(_all(COUNT, "sent", "returned", "lost")), "changing": YES_NO,
})  # fmt: skip
_SERVER = closed({
    "id": TEXT, "tier": one_of(("edge", "core")), "at": TEXT, **_all(YES_NO, "up", "awake"),
    **_all(NUMBER, "cpu", "memory", "power_w", "delay_ms"), "vnfs": array(TEXT),
})  # fmt: skip
_LINK = closed({
    "id": TEXT, "up": YES_NO, **_all(MAYBE, "delay_ms", "delay_age_s"),
    **_all(NUMBER, "configured_delay_ms", "bandwidth_mbps", "forward_mbps", "backward_mbps"),
})  # fmt: skip
_DECISION = closed({
    "id": COUNT, **_all(NUMBER, "at_s", "run_s", "took_ms"), "decision": one_of(("move", "stay")),
    **_all(TEXT, "reason", "policy", "vnf", "target", "migration"), "allowed": YES_NO,
    "prediction": maybe(reference("Prediction")), "observed": maybe(reference("Observed")),
})  # fmt: skip
_OBSERVED = closed(_all(MAYBE, "delay_before_ms", "delay_after_ms", "power_before_w", "power_after_w"))
_STEP = closed({"name": TEXT, **_all(NUMBER, "started_s", "took_ms"), "undone": YES_NO})
_MIGRATION = closed({
    **_all(TEXT, "id", "vnf", "source", "target", "reason", "error", "mode", "may_lose", "decision"),
    "status": one_of(MigrationStatus), **_all(NUMBER, "requested_s", "run_s", "state_mb", "took_ms"),
    "key": maybe(TEXT), "steps": array(_STEP), "predicted": maybe(reference("Prediction")),
    **_all(MAYBE, "observed_delay_before_ms", "observed_delay_after_ms", "silence_ms", "ended_s"),
    "observed": maybe(reference("Observed")),
    "probes_lost": {"type": "integer"}, "expected": maybe(reference("MoveEstimate")), "recovered": YES_NO,
})  # fmt: skip
_STATE = closed({
    **_all(TEXT, "scenario", "world", "policy", "waiting_for"), "mode": one_of(Mode),
    "advised": maybe(reference("Advised")), "twin": maybe(reference("Twin")),
    "objective": closed(_all(NUMBER, "delay", "energy")), "placement": table(TEXT), "chains": array(reference("Chain")),
    **_all(NUMBER, "uptime_s", "power_w", "stay_power_w", "energy_j", "stay_energy_j"),
    **_all(MAYBE, "delay_ms", "expected_delay_ms", "stay_delay_ms"),
    "energy_label": one_of(("modelled", "measured")), **_all(_QUANTILES, "decision_ms", "barrier_ms"),
    "migrations_by_mode": table(closed({"moves": COUNT, **_all(MAYBE, "took_ms", "silence_ms")})),
    "switches": table(YES_NO),
    **_all(table(COUNT), "decisions_by_outcome", "migrations_by_status", "refusals", "confirmations",
           "messages_refused", "answers_late"),
    "oldest_reading_s": table(MAYBE),
    **_all(COUNT, "moves", "handler_errors", "switch_errors", "samples_ignored", "rules_repaired", "rules_alien",
           "instances_surplus"),
})  # fmt: skip
_PROPOSAL = closed({
    **_all(TEXT, "id", "vnf", "source", "target", "reason", "migration"), "status": one_of(ProposalStatus),
    "prediction": reference("Prediction"), **_all(NUMBER, "proposed_s", "run_s", "missed_ms_s", "missed_j"),
    "ended_s": MAYBE,
})  # fmt: skip
_ADVISED = closed({
    **_all(NUMBER, "began_s", "seconds", "delay_ms", "present_delay_ms", "energy_j", "present_energy_j"),
    "moves": COUNT, "placement": table(TEXT),
})  # fmt: skip
_TOPOLOGY = closed({
    "name": TEXT, "period_s": NUMBER, "objective": closed(_all(NUMBER, "delay", "energy")),
    "switches": array(closed({"id": TEXT})),
    "servers": array(closed({**_all(TEXT, "id", "tier", "at"), **_all(NUMBER, "cpu_cores", "memory_mb")})),
    "endpoints": array(closed(_all(TEXT, "id", "at"))),
    "links": array(closed({**_all(TEXT, "id", "a", "b"), **_all(NUMBER, "bandwidth_mbps", "delay_ms")})),
    "chains": array(closed({
        **_all(TEXT, "id", "from", "to"), "max_delay_ms": NUMBER, "vnfs": array(closed(_all(TEXT, "id", "type"))),
    })),
})  # fmt: skip

SCHEMAS: dict[str, Schema] = {
    "Error": closed({"error": TEXT}),
    "Refusal": closed({"error": TEXT, "reason": TEXT, "detail": TEXT}, optional=("detail",)),
    "Health": closed({"ok": YES_NO}),
    "Ready": closed({"ready": YES_NO, "waiting_for": TEXT}),
    "State": _STATE,
    "Chain": _CHAIN,
    "Server": _SERVER,
    "Link": _LINK,
    "Decision": _DECISION,
    "Migration": _MIGRATION,
    "Proposal": _PROPOSAL,
    "Advised": _ADVISED,
    "Topology": _TOPOLOGY,
    "Twin": closed({
        "name": TEXT, **_all(YES_NO, "learned", "trusted"), "slots": COUNT,
        **_all(table(NUMBER), "share", "error_ratio", "hold_out"),
    }),
    "Observed": _OBSERVED,
    "Prediction": closed(_all(MAYBE, *_PREDICTION)),
    "WhatIf": closed({
        **_all(TEXT, "vnf", "target", "mode", "reason"), **_all(MAYBE, *_PREDICTION), "allowed": YES_NO,
        "move": maybe(reference("MoveEstimate")),
    }),
    "MoveEstimate": closed({"mode": TEXT, **_all(NUMBER, "whole_s", "silence_ms", "packets_at_risk"), "moves": COUNT}),
    "MoveRequest": closed({"vnf": NAME, "target": NAME, "idempotency_key": KEY}, optional=("idempotency_key",)),
    "WhatIfRequest": closed({"vnf": NAME, "target": NAME}),
    "ModeRequest": closed({"mode": one_of(Mode)}),
    "TwinRequest": closed({"file": PATH}),
    "TwinTaken": closed({"file": TEXT, "error_ratio": NUMBER, "slots": COUNT}),
}  # fmt: skip
