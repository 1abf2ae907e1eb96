"""What the controller says of itself: the answers of REST and of the metrics, built when they are asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from controller.loop import Loop
from controller.metrics import ControllerMetrics
from controller.records import DecisionRecord, MigrationRecord, Mode, Observed, Refused, medians_by_mode
from controller.service import Service
from controller.topology import topology
from twin.samples import Quantity
from twin.state import NetworkState

NO_TWIN = "no_twin"  # why a twin is refused: this controller forecasts by other means


class Descriptions:
    """Implements `controller.rest.Api` and `controller.metrics.Describes`."""

    def __init__(self, service: Service, loop: Loop, *, handler_errors: Callable[[], int]) -> None:
        self._service, self._loop, self._handler_errors = service, loop, handler_errors
        self._scenario = service.scenario
        self.prometheus: ControllerMetrics | None = None

    # ---- REST

    def describe(self, what: str) -> Any:
        """One of state, chains, servers, links, decisions, migrations, proposals, topology."""
        return getattr(self, f"_{what}")()

    def describe_migration(self, ident: str) -> Mapping[str, object]:
        return self.migration(self._service.migrations.record(ident))

    def request_migration(self, vnf: str, target: str, key: str | None) -> Mapping[str, object]:
        return self.migration(self._loop.request(vnf, target, key))

    def what_if(self, vnf: str, target: str) -> Mapping[str, object]:
        prediction = self._loop.predict(vnf, target)
        reason = self._loop.verdict(vnf, target)
        fields = ("delay_now_ms", "delay_after_ms", "power_now_w", "power_after_w")
        effect = {name: finite(getattr(prediction, name)) for name in fields}
        mode, cost = self._service.migrations.foretell(vnf, target)
        move = {"mode": mode, "move": asdict(cost) if cost else None}
        return {"vnf": vnf, "target": target, **effect, **move, "allowed": not reason, "reason": reason}

    def accept_proposal(self, ident: str) -> Mapping[str, object]:
        return self.migration(self._loop.accept(ident))

    def dismiss_proposal(self, ident: str) -> Mapping[str, object]:
        return self._loop.dismiss(ident).as_json()

    def set_mode(self, mode: Mode) -> None:
        self._loop.set_mode(mode)

    def take_twin(self, file: str) -> Mapping[str, object]:
        if self._loop.twin is None:
            raise Refused(NO_TWIN)
        return self._loop.twin.take(file)

    def not_ready(self) -> str:
        return self._service.not_ready()

    def metrics(self) -> bytes:
        assert self.prometheus is not None
        return self.prometheus.render()

    # ---- the descriptions

    def _state(self) -> dict[str, Any]:
        service, accounts = self._service, self._service.accounts
        moment, migrations = accounts.moment, service.migrations
        now_s = service.shell.clock()
        return {
            "scenario": self._scenario.name,
            "world": service.world_label,
            "policy": self._loop.decider.policy.name,
            "mode": self._loop.mode.value,
            "twin": self._loop.twin.as_json() if self._loop.twin else None,
            "objective": {"delay": self._scenario.objective.delay, "energy": self._scenario.objective.energy},
            "uptime_s": now_s - service.started_s,
            "waiting_for": service.not_ready(),
            "switches": {s.id: service.switchboard.is_connected(s.id) for s in self._scenario.switches},
            "placement": dict(service.keeper.placement.hosts),
            "chains": self._chains(),
            "delay_ms": finite(moment.delay_ms) if moment else None,
            "expected_delay_ms": finite(moment.expected.mean_delay_ms) if moment else None,
            "stay_delay_ms": finite(moment.stay.mean_delay_ms) if moment else None,
            "power_w": moment.power_w if moment else 0.0,
            "stay_power_w": moment.stay.total_power_w if moment else 0.0,
            "energy_j": service.energy_j,
            "stay_energy_j": accounts.stay_energy_j,
            "energy_label": "modelled",
            "advised": self._loop.would_have.as_json() if self._loop.would_have else None,
            "moves": migrations.counts.get("done", 0),
            "decisions_by_outcome": dict(self._loop.outcomes),
            "migrations_by_status": dict(migrations.counts),
            "migrations_by_mode": medians_by_mode(migrations.records.values()),
            "refusals": dict(self._loop.refusals),
            "decision_ms": _quantiles_ms(self._loop.times_s),
            "barrier_ms": _quantiles_ms(service.barriers.times_s),
            "oldest_reading_s": _ages(service.state),
            "handler_errors": self._handler_errors(),
            "switch_errors": service.switchboard.errors_total,
            "confirmations": dict(service.prover.counts),
            "messages_refused": dict(service.switchboard.refused_total),
            "answers_late": dict(service.switchboard.late_total),
            "samples_ignored": service.builder.ignored,
            "rules_repaired": service.mender.counters.rules_repaired,
            "rules_alien": service.mender.counters.rules_alien,
            "instances_surplus": service.watch.surplus,
        }

    def _chains(self) -> list[dict[str, Any]]:
        service, state, moment = self._service, self._service.state, self._service.accounts.moment
        if state is None:
            return []
        stay_mean_ms = service.accounts.stay_delay_mean_ms
        rows = []
        for i, chain in enumerate(self._scenario.chains):
            steering = service.keeper.installed.get(chain.id)
            counts = service.telemetry.probes.counts(chain.id)
            rows.append({
                "id": chain.id,
                "vnfs": [vnf.id for vnf in chain.vnfs],
                "modes": [service.migrations.modes.told.get(vnf.id, "") for vnf in chain.vnfs],
                "servers": [service.keeper.server_of[vnf.id] for vnf in chain.vnfs],
                "path": [list(segment.path) for segment in steering.segments] if steering else [],
                "offered_mbps": float(state.offered_mbps[i]),
                "delay_ms": _measured(state.chain_delay_ms[i]),
                "max_delay_ms": chain.max_delay_ms,
                "expected_delay_ms": finite(moment.expected.chain_delay_ms[i]) if moment else None,
                "stay_delay_ms": finite(moment.stay.chain_delay_ms[i]) if moment else None,
                "stay_delay_mean_ms": finite(stay_mean_ms[i]) if moment else None,
                "loss": float(state.chain_loss[i]),
                "probes": {"sent": counts.sent, "returned": counts.returned, "lost": counts.lost},
                "changing": chain.id in service.migrations.busy,
            })  # fmt: skip
        return rows

    def _servers(self) -> list[dict[str, Any]]:
        state = self._service.state
        if state is None:
            return []
        return [
            {
                "id": server.id,
                "tier": server.tier,
                "at": server.at,
                "up": bool(state.server_up[i]),
                "awake": bool(state.awake[i]),
                "cpu": float(state.server_cpu[i]),
                "memory": float(state.server_memory[i]),
                "power_w": float(state.server_power_w[i]),
                "delay_ms": float(state.server_delay_ms[i]),
                "vnfs": [v for v, host in self._service.keeper.server_of.items() if host == server.id],
            }
            for i, server in enumerate(self._scenario.servers)
        ]

    def _links(self) -> list[dict[str, Any]]:
        state = self._service.state
        if state is None:
            return []
        missing = set(self._service.missing_links())
        return [
            {
                "id": link.id,
                "up": link.id not in missing,
                "configured_delay_ms": link.delay_ms,
                "delay_ms": None if math.isinf(state.age_s[Quantity.LINK_DELAY][i]) else float(state.link_delay_ms[i]),
                "delay_age_s": finite(state.age_s[Quantity.LINK_DELAY][i]),
                "bandwidth_mbps": link.bandwidth_mbps,
                "forward_mbps": float(state.link_load_mbps[i, 0]),
                "backward_mbps": float(state.link_load_mbps[i, 1]),
            }
            for i, link in enumerate(self._scenario.links)
        ]

    def _topology(self) -> dict[str, Any]:
        return topology(self._scenario)

    def _proposals(self) -> list[dict[str, object]]:
        return [proposal.as_json() for proposal in self._loop.proposals.all]

    def _decisions(self) -> list[Mapping[str, object]]:
        return [self.decision(record) for record in self._loop.decisions]

    def _migrations(self) -> list[Mapping[str, object]]:
        return [self.migration(record) for record in self._service.migrations.records.values()]

    def decision(self, record: DecisionRecord) -> Mapping[str, object]:
        observed = self.observed(record)
        return {**record.as_json(), "observed": asdict(observed) if observed else None}

    def observed(self, record: DecisionRecord) -> Observed | None:
        """What came of the move that a decision led to, as that one's record says."""
        move = self._service.migrations.records.get(record.migration)
        return move.observed if move else None

    def migration(self, record: MigrationRecord) -> Mapping[str, object]:
        return {**record.as_json(), "run_s": record.requested_s - self._service.started_s}


def _measured(value_ms: float) -> float | None:
    """A delay that was never measured is 0 in the state, and unknown here."""
    return float(value_ms) or None


def finite(value: float) -> float | None:
    """JSON has no infinity: what no route carries has no delay."""
    return float(value) if math.isfinite(value) else None


def _quantiles_ms(times_s: Any) -> dict[str, float]:
    if not times_s:
        return {"count": 0, "p50": 0.0, "p99": 0.0}
    p50, p99 = np.quantile(np.array(times_s), [0.5, 0.99]) * 1000.0
    return {"count": len(times_s), "p50": float(p50), "p99": float(p99)}


def _ages(state: NetworkState | None) -> dict[str, float | None]:
    """Per quantity the age of its oldest reading; None where one was never read."""
    if state is None:
        return {}
    return {q.value: finite(float(ages.max())) for q, ages in state.age_s.items() if len(ages)}
