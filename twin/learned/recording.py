"""`Recording`: one run as arrays, slot by slot, from states that were seen live or in the simulator.

What was not read in the period before a slot is NaN, so that nothing is learnt from a value that only stood there.
Source: ours (docs/twin.md, "Data").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from twin.samples import Quantity
from twin.scenario import Scenario
from twin.simulator import TwinWorld
from twin.state import BoolArray, FloatArray, IntArray, NetworkState, StateBuilder
from twin.tables import tables

MIN_SLOTS = 12  # shorter pieces of a run teach nothing
GAP = 1.5  # periods without a state that cut a run in two


@dataclass(frozen=True, eq=False)
class Recording:
    """T slots of one run; NaN where a reading is missing or older than a period.

    `hosts` [T, V], `ends` [T, E] and `awake` [T, S] are where VNFs, endpoints and power were at the end of the slot.
    """

    at_s: FloatArray  # [T]
    hosts: IntArray
    ends: IntArray
    awake: BoolArray
    offered_mbps: FloatArray  # [T, C]
    delay_ms: FloatArray  # [T, C]
    cores: FloatArray  # [T, S] in use
    memory_mb: FloatArray  # [T, S]
    link_mbps: FloatArray  # [T, 2L]
    power_w: FloatArray  # [T, S]
    vnf_cores: FloatArray  # [T, V]

    def __len__(self) -> int:
        return len(self.at_s)

    def part(self, first: int, last: int) -> Recording:
        """The slots from `first` up to but not `last`."""
        return Recording(**{name: getattr(self, name)[first:last] for name in self.__dataclass_fields__})


def recordings(scenario: Scenario, states: Iterable[NetworkState]) -> list[Recording]:
    """The states of one run, cut where more than one and a half periods are missing; pieces too short are left out."""
    pieces: list[list[NetworkState]] = [[]]
    for state in states:
        if pieces[-1] and not 0.0 < state.at_s - pieces[-1][-1].at_s <= GAP * scenario.period_s:
            pieces.append([])
        pieces[-1].append(state)
    return [record(scenario, piece) for piece in pieces if len(piece) >= MIN_SLOTS]


def record(scenario: Scenario, states: Sequence[NetworkState]) -> Recording:
    """One recording of all these states, gaps or not."""
    t = tables(scenario)

    def column(name: str) -> FloatArray:
        return np.stack([getattr(s, name) for s in states]).astype(np.float64)

    def read(name: str, *quantities: Quantity) -> FloatArray:
        stale = np.stack([_stale(s, scenario.period_s, quantities).reshape(getattr(s, name).shape) for s in states])
        return np.where(stale, np.nan, column(name))

    links = read("link_load_mbps", Quantity.LINK_LOAD_FORWARD, Quantity.LINK_LOAD_BACKWARD)
    up = np.stack([s.link_up.all() for s in states])  # routes of the model are those of a whole network
    delay = read("chain_delay_ms", Quantity.CHAIN_DELAY)
    return Recording(
        at_s=np.array([s.at_s for s in states]),
        hosts=np.stack([s.vnf_server for s in states]),
        ends=np.stack([s.endpoint_switch for s in states]),
        awake=np.stack([s.awake for s in states]),
        offered_mbps=read("offered_mbps", Quantity.CHAIN_OFFERED),
        delay_ms=np.where(up[:, None] & (delay > 0.0), delay, np.nan),
        cores=read("server_cpu", Quantity.SERVER_CPU) * t.cpu_cores,
        memory_mb=read("server_memory", Quantity.SERVER_MEMORY) * t.memory_mb,
        link_mbps=np.where(up[:, None], links.reshape(len(states), -1), np.nan),
        power_w=read("server_power_w", Quantity.SERVER_POWER),
        vnf_cores=read("vnf_cpu_cores", Quantity.VNF_CPU),
    )


def _stale(state: NetworkState, period_s: float, quantities: tuple[Quantity, ...]) -> BoolArray:
    return np.stack([state.stale(q, limit_s=period_s) for q in quantities], axis=-1)


Mover = Callable[[NetworkState], tuple[str, str] | None]


def simulated_states(world: TwinWorld, slots: int, mover: Mover) -> Iterator[NetworkState]:
    """The states of a simulated run, seen by the road of a live one; `mover` names a (VNF, server) to move, or none."""
    builder, period_s = StateBuilder(world.scenario), world.scenario.period_s
    builder.add(world.observe(world.now_s))
    for _ in range(slots):
        state = builder.build(world.now_s)
        yield state
        if (move := mover(state)) is not None:
            world.execute(*move)
        builder.add(world.observe(world.now_s + period_s))


def wanderer(scenario: Scenario, rng: np.random.Generator, *, share: float = 0.15) -> Mover:
    """Moves a random VNF to a random server in a `share` of the slots: what a network can look like."""

    def move(_state: NetworkState) -> tuple[str, str] | None:
        vnf, server = rng.integers(len(scenario.vnfs)), rng.integers(len(scenario.servers))
        return (scenario.vnfs[vnf].id, scenario.servers[server].id) if rng.random() < share else None

    return move
