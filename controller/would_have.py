"""What the policy would have won: a dry run beside the network, fed with its live state (mode *advise*).

The same decider decides on the same traffic, but on a placement of its own, in which each of its moves is made at once.
What that placement would cost is modelled, and so is, for a fair comparison, what the present one costs. Source: ours.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from agent.decision import Move
from controller.records import MigrationRecord, MigrationStatus
from controller.thrift import Past
from controller.tick import Decider
from twin.costs import Costs, evaluate
from twin.routing import Routes
from twin.scenario import Scenario
from twin.state import NetworkState, placed

MOVES_KEPT = 200


class WouldHave:
    """One dry run, from `begin` to `end`. Delays are means over its time in ms, energies J, all modelled."""

    def __init__(self, scenario: Scenario, decider: Decider) -> None:
        self._scenario, self._decider = scenario, decider
        self._hosts: dict[str, str] = {}
        self.end()

    @property
    def running(self) -> bool:
        return bool(self._hosts)

    def begin(self, hosts: dict[str, str], now_s: float) -> None:
        """From this placement on every proposal counts as accepted."""
        self.end()
        self._hosts, self._began_s = dict(hosts), now_s

    def end(self) -> None:
        self._hosts = {}
        self._moves: deque[MigrationRecord] = deque(maxlen=MOVES_KEPT)
        self._began_s = self._elapsed_s = 0.0
        self._at_s: float | None = None
        self._delay_sums, self._energies_j = np.zeros(2), np.zeros(2)  # of the present placement, of the dry run's
        self.now: Costs | None = None

    def decide(self, state: NetworkState, routes: Routes, *, fixed: frozenset[tuple[str, str]]) -> None:
        """One tick of the dry run; its move is made at once."""
        seen, past = placed(self._scenario, state, self._hosts), Past.of(self._moves, state.at_s)
        tick = self._decider.tick(seen, routes, past=past, in_flight=frozenset(), fixed=fixed)
        if isinstance(tick.decision, Move) and not tick.refusal:
            self._make(tick.decision, state.at_s)

    def moved(self, vnf: str, target: str) -> None:
        """A person moved a VNF of the network: what is compared is whether proposals were accepted, nothing else."""
        if self.running:
            self._hosts[vnf] = target

    def take(self, state: NetworkState, routes: Routes) -> None:
        """Takes one state in, in the order of time; nothing while it is not running."""
        if not self.running:
            return
        seen = placed(self._scenario, state, self._hosts)
        present, dry = (
            evaluate(self._scenario, routes, hosts, state.offered_mbps, state.endpoint_switch)
            for hosts in (state.vnf_server, seen.vnf_server)
        )
        if self._at_s is not None:
            elapsed_s = max(0.0, state.at_s - self._at_s)
            delays = np.array([present.mean_delay_ms, dry.mean_delay_ms])
            if np.isfinite(delays).all():
                self._elapsed_s += elapsed_s
                self._delay_sums += elapsed_s * delays
                self._energies_j += elapsed_s * np.array([present.total_power_w, dry.total_power_w])
        self._at_s, self.now = state.at_s, dry

    def as_json(self) -> dict[str, object] | None:
        """The account so far, None while it is not running."""
        if not self.running:
            return None
        present_ms, dry_ms = self._delay_sums / max(self._elapsed_s, 1e-9)
        return {
            "began_s": self._began_s,
            "seconds": self._elapsed_s,
            "moves": len(self._moves),
            "placement": dict(self._hosts),
            "delay_ms": float(dry_ms),
            "present_delay_ms": float(present_ms),
            "energy_j": float(self._energies_j[1]),
            "present_energy_j": float(self._energies_j[0]),
        }

    def _make(self, move: Move, at_s: float) -> None:
        source, self._hosts[move.vnf] = self._hosts[move.vnf], move.target
        record = MigrationRecord("", move.vnf, source, move.target, move.reason, at_s, status=MigrationStatus.DONE)
        record.ended_s = at_s
        self._moves.append(record)
