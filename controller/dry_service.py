"""The service of a dry run: all of the controller, over switches and engines that are simulated.

Plans, steps, journal, verdicts and records are the real ones. A dry switch answers barriers and keeps no rule, a dry
engine takes its time and starts nothing, and what telemetry reads comes from a `TwinWorld` in which the moves happen.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import replace

import eventlet

from controller.executor import Shell
from controller.host_watch import Spawn
from controller.hosts import Hosts
from controller.journal import Journal
from controller.ports import OvsPorts
from controller.service import POLL_S, Service
from controller.steering import Attachment
from controller.telemetry import Telemetry
from twin.scenario import Scenario
from twin.simulator import TwinWorld

# What engines took where they were measured (docs/moves.md); a dry move is to look like one.
START_S, STOP_S, TAKE_OVER_S, COPY_S, COPY_S_PER_MB = 0.35, 0.15, 0.002, 0.03, 0.01
ANSWER_S = 0.002  # of a switch, to a barrier
FIRST_ENDPOINT_PORT, FIRST_VNF_PORT = 1000, 2000
_HEADER = struct.Struct("!BBHI")  # OpenFlow: version, type, length, transaction id
_BARRIER_REQUEST = 20


class DrySwitch:
    """Takes every message, and answers barriers a moment later."""

    def __init__(self, answer: Callable[[int], None]) -> None:
        self._answer = answer

    def take(self, message: bytes) -> None:
        _, kind, _, xid = _HEADER.unpack_from(message)
        if kind == _BARRIER_REQUEST:
            eventlet.spawn_after(ANSWER_S, self._answer, xid)


class DryHosts(Hosts):
    """Instances that are nothing but a port; each step takes as long as it does with a real engine."""

    def __init__(self, scenario: Scenario, sleep: Callable[[float], object]) -> None:
        super().__init__(
            scenario, {}, OvsPorts("dry"), run_id="dry", images={}, run_blocking=lambda work, *args: work(*args)
        )
        self._sleep, self._next_port = sleep, FIRST_VNF_PORT
        self._attached: dict[str, Attachment] = {}
        self._state_mb: dict[str, float] = {}

    def start(
        self, vnf_id: str, server_id: str, name: str, *, standby: bool = False, hollow: bool = False
    ) -> Attachment:
        self._sleep(START_S)
        self._next_port += 1
        self._attached[name] = attachment = Attachment(self._scenario.server(server_id).at, self._next_port)
        self._state_mb[name] = self._scenario.vnf(vnf_id).type.state_mb
        return attachment

    def stop(self, name: str) -> None:
        self._sleep(STOP_S)
        self._attached.pop(name, None)
        self._state_mb.pop(name, None)

    def attachment(self, name: str) -> Attachment | None:
        return self._attached.get(name)

    def can_hand_over(self, name: str) -> bool:
        return self._state_mb.get(name, 0.0) > 0.0

    def hand_over_lack(self, name: str) -> str:
        return ""

    def checkpoint_lack(self, source: str, target: str) -> str:
        return "a dry run has no processes"

    def copy_state(self, source: str, target: str) -> None:
        self._sleep(COPY_S + COPY_S_PER_MB * self._state_mb.get(source, 0.0))

    def take_over(self, owner: str, heir: str) -> None:
        self._sleep(TAKE_OVER_S)


class DryService(Service):
    """One simulated network in real time. `world` reads and moves in slots of one poll."""

    world_label = "simulated"

    def __init__(
        self, scenario: Scenario, *, seed: int, journal: Journal, shell: Shell, spawn: Spawn,
        observe_step: Callable[[str, float], None],
    ) -> None:  # fmt: skip
        self.world = TwinWorld(replace(scenario, period_s=POLL_S), seed=seed)
        self._adjacency = {
            ends: 1 + i for i, link in enumerate(scenario.links) for ends in ((link.a, link.b), (link.b, link.a))
        }
        self._energy_j = 0.0
        super().__init__(
            scenario, telemetry=Telemetry(scenario, bytes(16)), hosts=DryHosts(scenario, shell.sleep), journal=journal,
            shell=shell, spawn=spawn, observe_step=observe_step, confirm=False,
        )  # fmt: skip
        for switch in scenario.switches:
            self.switchboard.connected(switch.id, DrySwitch(self._answer_of(switch.id)).take)

    def set_up(self) -> None:
        """Starts every VNF, all at once; `keep` steers the chains."""
        for thread in self.watch.start_missing():
            thread.wait()
        self.set_up_done = True

    def poll(self) -> None:
        """Lets the world go on by one poll and takes in what was read of it, on this controller's clock."""
        self._follow()
        now_s, samples = self.shell.clock(), self.world.observe(self.world.now_s + POLL_S)
        later_s = now_s - self.world.now_s
        self._energy_j += self.world.slots[-1].energy_j
        del self.world.slots[:-1]
        self._take_state(now_s, [replace(sample, at_s=sample.at_s + later_s) for sample in samples])

    def adjacency(self) -> Mapping[tuple[str, str], int]:
        return self._adjacency

    def places(self) -> Mapping[str, tuple[str, int]]:
        at, switches = self.world.endpoint_switch, self.scenario.switches
        return {
            endpoint.id: (switches[at[i]].id, FIRST_ENDPOINT_PORT + i)
            for i, endpoint in enumerate(self.scenario.endpoints)
        }

    def missing_links(self) -> list[str]:
        return [link.id for link, up in zip(self.scenario.links, self.world.link_up, strict=True) if not up]

    @property
    def energy_j(self) -> float:
        return self._energy_j

    def _answer_of(self, switch: str) -> Callable[[int], None]:
        return lambda xid: self.switchboard.barrier_replied(switch, xid)

    def _follow(self) -> None:
        """What was moved has moved in the world too: it makes one move per slot, the rest comes with the next ones."""
        for v, vnf in enumerate(self.scenario.vnfs):
            server = self.keeper.server_of[vnf.id]
            if self.world.hosts[v] != self.scenario.server_index[server]:
                self.world.execute(vnf.id, server)
                return
