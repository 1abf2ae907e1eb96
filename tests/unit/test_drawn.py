"""Networks drawn at random are whole scenarios, of the size asked for, other ones from other seeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from twin.costs import vnf_cpu_cores
from twin.drawn import Size, drawn_network
from twin.scenario import DiurnalTraffic
from twin.scenario_file import dump_scenario, parse_scenario
from twin.simulator import TwinWorld
from twin.tables import initial_hosts, tables


@pytest.mark.parametrize("size", [Size(), Size(servers=5, chains=2, vnfs=4), Size(servers=16, chains=8, room=1.3)])
def test_a_drawn_network_is_of_the_size_asked_for_and_passes_every_check(size: Size) -> None:
    scenario = drawn_network(size, np.random.default_rng(3))
    assert (len(scenario.servers), len(scenario.chains)) == (size.servers, size.chains)
    assert len(scenario.vnfs) == size.chains * size.vnfs
    again = parse_scenario(dump_scenario(scenario), Path("drawn.yaml"))
    assert again.placement.hosts == scenario.placement.hosts
    np.testing.assert_array_equal(tables(again).cpu_cores, tables(scenario).cpu_cores)


def test_it_starts_with_room_on_every_server() -> None:
    scenario = drawn_network(Size(), np.random.default_rng(4))
    offered = np.array([chain.traffic.mean_mbps for chain in scenario.chains])  # type: ignore[union-attr]
    used = np.bincount(initial_hosts(scenario), weights=vnf_cpu_cores(scenario, offered), minlength=8)
    assert (used <= 0.8 * tables(scenario).cpu_cores + 1e-9).all()
    world = TwinWorld(scenario, seed=1)
    world.observe(scenario.period_s)
    assert world.slots[-1].late_chains == 0


def test_the_same_seed_draws_the_same_and_another_another() -> None:
    one, same, other = (drawn_network(Size(), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.placement.hosts == same.placement.hosts
    assert one.links == same.links
    assert one.placement.hosts != other.placement.hosts
    assert isinstance(drawn_network(Size(), np.random.default_rng(1), diurnal=True).chains[0].traffic, DiurnalTraffic)


def test_what_fits_nowhere_is_an_error() -> None:
    with pytest.raises(ValueError, match="fits nowhere"):
        drawn_network(Size(room=0.1), np.random.default_rng(1))
