"""The scenarios that ship: sound, of the promised size, and found from a checkout as from an installed wheel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from itertools import pairwise
from pathlib import Path

import networkx as nx
import pytest

from twin.importers.geography import Position, delay_ms
from twin.resources import docker_path, scenario_names, scenario_path
from twin.scenario import DiurnalTraffic, Scenario
from twin.scenario_checks import cpu_demand
from twin.scenario_file import dump_scenario, load_scenario, parse_scenario
from twin.traffic import TrafficSource, mean_mbps

ROOT = Path(__file__).parents[2]
SHIPPED = ("abilene", "medium", "small")


def test_these_scenarios_ship() -> None:
    assert scenario_names() == SHIPPED
    with pytest.raises(KeyError):
        scenario_path("huge")


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_scenario_is_named_like_its_file_and_reads_back_equal(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.name == name
    assert scenario.source == scenario_path(name)
    assert parse_scenario(dump_scenario(scenario), scenario.source) == scenario


@pytest.mark.parametrize("name", SHIPPED)
def test_the_initial_placement_is_feasible_but_poor(name: str) -> None:
    """No server is overloaded at any peak and no delay bound missed, yet all servers are awake and chains zigzag."""
    scenario = load_scenario(name)
    assert max(peak_utilisation(scenario).values()) < 1.0
    assert set(scenario.placement.hosts.values()) == {server.id for server in scenario.servers}
    detour = 0.0
    for chain in scenario.chains:
        stops = [scenario.endpoint(chain.ingress).at]
        stops += [scenario.server(scenario.placement[vnf.id]).at for vnf in chain.vnfs]
        stops.append(scenario.endpoint(chain.egress).at)
        taken_ms = sum(path_ms(scenario, a, b) for a, b in pairwise(stops))
        assert taken_ms < 0.75 * chain.max_delay_ms, chain.id
        detour += taken_ms / path_ms(scenario, stops[0], stops[-1])
    assert detour / len(scenario.chains) > 1.5


def path_ms(scenario: Scenario, a: str, b: str) -> float:
    graph: nx.Graph[str] = nx.Graph()
    for link in scenario.links:
        graph.add_edge(link.a, link.b, delay_ms=link.delay_ms)
    return float(nx.shortest_path_length(graph, a, b, weight="delay_ms"))


def peak_utilisation(scenario: Scenario) -> dict[str, float]:
    """Per server the highest CPU demand of a day over its capacity, under the initial placement."""
    traffic, peak = TrafficSource(scenario, seed=1), dict.fromkeys(scenario.server_index, 0.0)
    for slot in range(240):
        offered = traffic.offered_mbps(slot * scenario.period_s)
        used = dict.fromkeys(peak, 0.0)
        for vnf in scenario.vnfs:
            demand = vnf.type.cpu_base + vnf.type.cpu_per_mbps * offered[scenario.chain_index[vnf.chain]]
            used[scenario.placement[vnf.id]] += demand
        peak = {name: max(peak[name], used[name] / scenario.server(name).cpu_cores) for name in peak}
    return peak


def test_small_is_what_the_demonstration_needs() -> None:
    scenario = load_scenario("small")
    tiers = [server.tier for server in scenario.servers]
    assert (tiers.count("edge"), tiers.count("core")) == (4, 2)
    assert len(scenario.switches) >= 6
    assert nx.cycle_basis(nx.Graph((link.a, link.b) for link in scenario.links)), "no loop in the core"
    assert 3 <= len(scenario.chains) <= 4
    assert scenario.moves
    packets_per_s = sum(mean_mbps(c.traffic) * 1e6 / 8 / c.packet_bytes for c in scenario.chains)
    assert packets_per_s < 2000


def test_medium_has_16_servers_and_8_chains_of_4() -> None:
    scenario = load_scenario("medium")
    tiers = [server.tier for server in scenario.servers]
    assert (tiers.count("edge"), tiers.count("core")) == (12, 4)
    assert [len(chain.vnfs) for chain in scenario.chains] == [4] * 8
    assert 16 <= len(scenario.switches) <= 20
    share = sum(cpu_demand(scenario).values()) / sum(server.cpu_cores for server in scenario.servers)
    assert 0.35 <= share <= 0.45
    phases = {chain.traffic.phase for chain in scenario.chains if isinstance(chain.traffic, DiurnalTraffic)}
    assert len(phases) == 8


def test_abilene_has_its_cities_and_links_with_great_circle_delays() -> None:
    scenario = load_scenario("abilene")
    text = scenario_path("abilene").read_text()
    stated = re.findall(r"- (\w+) +# +([\d.]+) N +([\d.]+) W", text)
    cities = {name: Position(float(north), -float(west)) for name, north, west in stated}
    assert len(cities) == len(scenario.switches) == 11
    assert len(scenario.links) == 14
    for link in scenario.links:
        assert link.delay_ms == delay_ms(cities[link.a], cities[link.b]), link.id
    # New York - Los Angeles is about 3,940 km
    assert delay_ms(cities["newyork"], cities["losangeles"]) == pytest.approx(19.7, abs=0.1)


def test_docker_sources_are_found() -> None:
    assert (docker_path() / "vnf" / "Dockerfile").is_file()


@pytest.mark.slow
def test_an_installed_wheel_finds_its_scenarios_and_sources(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "report", "runs"))
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), "."]
    subprocess.run(build, cwd=tree, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    shutil.rmtree(tree)
    program = (
        "from twin.resources import docker_path, scenario_names; from twin.scenario_file import load_scenario;"
        "[load_scenario(n) for n in scenario_names()];"
        "print(*scenario_names(), (docker_path() / 'vnf' / 'Dockerfile').is_file(), docker_path())"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=env, check=True, capture_output=True)
    assert done.stdout.decode().split() == [*SHIPPED, "True", str(tmp_path / "site" / "twin" / "shipped" / "docker")]
