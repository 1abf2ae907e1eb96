"""Importing Topology Zoo GraphML and SNDlib XML: names, delays and capacities kept, gaps filled by the stated rules."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import networkx as nx
import pytest

from twin.errors import InputError
from twin.importers import ImportOptions, import_network
from twin.importers.geography import Position, delay_ms, distance_km, middle
from twin.importers.topology import Cable, merge_parallel
from twin.scenario import DiurnalTraffic, Link, Scenario
from twin.scenario_checks import cpu_demand
from twin.scenario_file import dump_scenario, load_scenario

SAMPLES = Path(__file__).parent / "samples"
ZOO, SNDLIB, MATRIX = SAMPLES / "zoo.graphml", SAMPLES / "sndlib.xml", SAMPLES / "matrix.xml"


@pytest.fixture
def zoo() -> Scenario:
    return import_network(ZOO, seed=1)


@pytest.fixture
def german() -> Scenario:
    return import_network(SNDLIB, seed=1)


def link(scenario: Scenario, a: str, b: str) -> Link:
    return scenario.links[scenario.link_index[f"{a}-{b}"]]


def edited(tmp_path: Path, source: Path, old: str, new: str) -> Path:
    text = source.read_text(encoding="utf-8" if source == ZOO else "latin-1")
    assert old in text
    file = tmp_path / source.name
    file.write_text(text.replace(old, new, 1), encoding="utf-8" if source == ZOO else "latin-1")
    return file


@pytest.mark.parametrize("file", [ZOO, SNDLIB])
def test_an_imported_network_is_a_sound_scenario(tmp_path: Path, file: Path) -> None:
    scenario = import_network(file, seed=3)
    (tmp_path / "x.yaml").write_text(dump_scenario(scenario))
    assert replace(load_scenario(tmp_path / "x.yaml"), source=None) == scenario


@pytest.mark.parametrize("file", [ZOO, SNDLIB])
def test_the_same_seed_gives_the_same_scenario_and_another_seed_another(file: Path) -> None:
    assert import_network(file, seed=5) == import_network(file, seed=5)
    assert import_network(file, seed=5) != import_network(file, seed=6)


def test_zoo_names_become_ids(zoo: Scenario) -> None:
    """Accents are dropped, blanks become '_', a second node of a name is numbered, one without is named by its id."""
    names = [switch.id for switch in zoo.switches]
    assert names == ["Praha", "Brno", "Ostrava", "Plzen", "Praha_2", "node_5", "Far_Away", "Wien"]
    assert zoo.name == "sample-net"


def test_zoo_links(zoo: Scenario) -> None:
    """Parallel edges add up, loops are dropped, speeds come from LinkSpeedRaw, else LinkSpeed with its unit."""
    assert len(zoo.links) == 7
    assert link(zoo, "Praha", "Brno").bandwidth_mbps == 12500
    assert link(zoo, "Praha", "Brno").name == "10 Gbps+backup"
    assert link(zoo, "Brno", "Ostrava").bandwidth_mbps == 155
    assert link(zoo, "Ostrava", "Praha").bandwidth_mbps == 1000
    assert link(zoo, "Praha", "Plzen").bandwidth_mbps == ImportOptions().default_bandwidth_mbps
    assert (
        link(zoo, "Praha", "Praha_2").bandwidth_mbps == ImportOptions().default_bandwidth_mbps
    )  # "<10 G" tells nothing


def test_zoo_delays_are_great_circles_and_a_node_without_position_is_amid_its_neighbours(zoo: Scenario) -> None:
    praha, brno, ostrava = Position(50.08804, 14.42076), Position(49.19522, 16.60796), Position(49.83465, 18.28204)
    assert link(zoo, "Praha", "Brno").delay_ms == delay_ms(praha, brno) == pytest.approx(0.925, abs=0.01)  # 185 km
    half_ms = delay_ms(brno, ostrava) / 2
    assert link(zoo, "node_5", "Brno").delay_ms == pytest.approx(half_ms, abs=0.002)
    assert link(zoo, "node_5", "Ostrava").delay_ms == pytest.approx(half_ms, abs=0.002)


def test_what_is_not_joined_keeps_its_switch_and_gets_nothing_else(zoo: Scenario) -> None:
    used = {server.at for server in zoo.servers} | {endpoint.at for endpoint in zoo.endpoints}
    assert used <= {"Praha", "Brno", "Ostrava", "Plzen", "Praha_2", "node_5"}


def test_directed_files_join_both_directions() -> None:
    cables = [Cable("a", "b", "x", 10), Cable("b", "a", "y", 40), Cable("a", "b", "z", 10)]
    assert merge_parallel(cables, directed=True) == (Cable("a", "b", "x+y+z", 40),)
    assert merge_parallel(cables, directed=False) == (Cable("a", "b", "x+y+z", 60),)


def test_without_any_position_delays_are_the_default(tmp_path: Path) -> None:
    text = ZOO.read_text(encoding="utf-8").replace('attr.name="Latitude"', 'attr.name="Width"')
    (tmp_path / "x.graphml").write_text(text, encoding="utf-8")
    scenario = import_network(tmp_path / "x.graphml", seed=1, options=ImportOptions(default_delay_ms=3.5))
    assert {each.delay_ms for each in scenario.links} == {3.5}


def test_sndlib_links_keep_names_and_capacities(german: Scenario) -> None:
    """What is installed, else the largest module, else the default."""
    default = ImportOptions().default_bandwidth_mbps
    assert [(each.name, each.bandwidth_mbps) for each in german.links] == [
        *(("L1", 622), ("L2", 155), ("L3", default)),
        *(("L4", default), ("L5", default), ("L6", default)),
    ]
    assert link(german, "Berlin", "Hamburg").delay_ms == pytest.approx(1.26, abs=0.03)  # 252 km


def test_sndlib_chains_are_its_largest_demands_in_proportion(german: Scenario) -> None:
    ends = [(chain.ingress, chain.egress) for chain in german.chains]
    assert ends == [("u_Hamburg", "u_Frankfurt"), ("u_Berlin", "u_Muenchen"), ("u_Koeln", "u_Berlin")]
    means = [chain.traffic.mean_mbps for chain in german.chains if isinstance(chain.traffic, DiurnalTraffic)]
    assert means == pytest.approx([4 * means[2], 2 * means[2], means[2]], rel=1e-3)
    largest = import_network(SNDLIB, seed=1, options=ImportOptions(chains=1))
    assert [(chain.ingress, chain.egress) for chain in largest.chains] == ends[:1]


def test_loads_meet_one_of_their_bounds_and_exceed_none(zoo: Scenario) -> None:
    options = ImportOptions()
    for scenario in (zoo, import_network(ZOO, seed=2), import_network(SNDLIB, seed=2)):
        cpu = sum(cpu_demand(scenario).values()) / sum(server.cpu_cores for server in scenario.servers)
        variable = [cpu_demand(scenario)[vnf.id] - vnf.type.cpu_base for vnf in scenario.vnfs]
        shares = {"cpu": cpu / options.cpu_load, "link": fullest_link(scenario) / options.link_load}
        shares["vnf"] = max(variable) / (options.cpu_load * 2)  # of an edge server's two cores
        assert max(shares.values()) == pytest.approx(1.0, rel=2e-3), shares


def fullest_link(scenario: Scenario) -> float:
    graph: nx.Graph[str] = nx.Graph()
    for each in scenario.links:
        graph.add_edge(each.a, each.b, delay_ms=each.delay_ms, room=each.bandwidth_mbps, load=0.0)
    for chain in scenario.chains:
        assert isinstance(chain.traffic, DiurnalTraffic)
        path = nx.shortest_path(
            graph, scenario.endpoint(chain.ingress).at, scenario.endpoint(chain.egress).at, weight="delay_ms"
        )
        for a, b in pairwise(path):
            load = graph.edges[a, b].setdefault(f"{a}>{b}", 0.0) + chain.traffic.mean_mbps
            graph.edges[a, b][f"{a}>{b}"] = load
            graph.edges[a, b]["load"] = max(graph.edges[a, b]["load"], load / graph.edges[a, b]["room"])
    return max(float(data["load"]) for _, _, data in graph.edges(data=True))


def test_core_servers_stand_where_most_shortest_paths_pass(zoo: Scenario) -> None:
    assert [server.at for server in zoo.servers if server.tier == "core"] == ["Praha"]
    few = import_network(ZOO, seed=1, options=ImportOptions(edge_servers=2))
    assert len(few.servers) == 3


def test_a_demand_matrix_replaces_the_demands_and_brings_its_unit() -> None:
    scenario = import_network(SNDLIB, seed=1, options=ImportOptions(demands=MATRIX))
    ends = [(chain.ingress, chain.egress) for chain in scenario.chains]
    assert ends == [("u_Muenchen", "u_Hamburg"), ("u_Hamburg", "u_Muenchen")]


def test_pixel_coordinates_give_delays_in_proportion(tmp_path: Path) -> None:
    file = edited(tmp_path, SNDLIB, 'coordinatesType="geographical"', 'coordinatesType="pixel"')
    scenario = import_network(file, seed=1, options=ImportOptions(default_delay_ms=4))
    delays = [each.delay_ms for each in scenario.links]
    assert sum(delays) / len(delays) == pytest.approx(4, abs=0.001)
    # Koeln - Frankfurt is 1.824 units long, Berlin - Hamburg 3.544
    ratio = link(scenario, "Berlin", "Hamburg").delay_ms / link(scenario, "Koeln", "Frankfurt").delay_ms
    assert ratio == pytest.approx(3.544 / 1.824, abs=0.01)


@pytest.mark.parametrize(
    ("source", "old", "new", "message"),
    [
        (ZOO, "</graphml>", "", r"zoo.graphml:\d+: is no well-formed XML"),
        (ZOO, "50.08804", "north", "Latitude of node 0 should be a number, not 'north'"),
        (ZOO, "50.08804", "150.0", "node 0 is at 150, 14.4208, which is no place on Earth"),
        (ZOO, 'target="2"', 'target="22"', "an edge 1-22 ends at '22', which is no node"),
        (ZOO, 'node id="1"', 'node id="0"', "two nodes have the same id"),
        (ZOO, 'node id="1"', "node", "a node has no id"),
        (ZOO, "10000000000.0", "fast", "LinkSpeedRaw of edge 0-1 should be a number"),
        (ZOO, "<graph edgedefault", "<graph/><graph edgedefault", "should hold one graph, not 2"),
        (SNDLIB, "<y>52.55</y>", "", "y of node Berlin should be a number, not ''"),
        (
            SNDLIB,
            "<target>Hamburg</target>",
            "<target>Bonn</target>",
            "link 'L1' has the target 'Bonn', which is no node",
        ),
        (SNDLIB, "<capacity>622.0", "<capacity>lots", "capacity of link L1 should be a number, not 'lots'"),
        (SNDLIB, "<demandValue>40.0", "<demandValue>-4", "demandValue of demand D1 is negative"),
        (SNDLIB, "MBITPERSEC", "BUSHELS", "unknown unit 'BUSHELS'"),
        (SNDLIB, "ISO-8859-1", "KLINGON", "is no"),
    ],
)
def test_a_bad_file_is_one_clear_line(tmp_path: Path, source: Path, old: str, new: str, message: str) -> None:
    file = edited(tmp_path, source, old, new)
    with pytest.raises(InputError, match=message) as caught:
        import_network(file, seed=1)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no well-formed XML"),
        ("<html/>", "is <html>, neither GraphML .* nor SNDlib"),
        ("<graphml><graph/></graphml>", "has 0 nodes and 0 links, which makes no network"),
        ("<graphml/>", "should hold one graph, not 0"),
        (MATRIX.read_text(), "is a demand matrix alone"),
        ('<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><network>&b;</network>', ":1: declares XML entities"),
        ('<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><network>&a;</network>', ":1: declares XML entities"),
    ],
)
def test_what_is_no_network_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.xml").write_text(text)
    with pytest.raises(InputError, match=message):
        import_network(tmp_path / "x.xml", seed=1)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.xml: can't be read: No such file"):
        import_network(tmp_path / "none.xml", seed=1)


def test_great_circles() -> None:
    """A quarter of the equator, and from pole to pole."""
    assert distance_km(Position(0, 0), Position(0, 90)) == pytest.approx(10007.6, abs=0.1)
    assert distance_km(Position(90, 0), Position(-90, 17)) == pytest.approx(20015.1, abs=0.1)
    assert distance_km(Position(10, 179.5), Position(10, -179.5)) == pytest.approx(109.5, abs=0.1)
    east = middle([Position(10, 179), Position(10, -179)])
    assert (abs(east.longitude), east.latitude) == pytest.approx((180, 10), abs=0.01)
