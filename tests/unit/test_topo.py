"""The topology of a scenario as Mininet's `Topo`, without root."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from mininet_topos import edgecore
from mininet_topos.edgecore import EdgeCoreTopo, bridge_name, interface_name, plan_ports
from twin.resources import scenario_names
from twin.rewrites import external_address, neighbours
from twin.scenario import Roam
from twin.scenario_file import load_scenario

SMALL = load_scenario("small")


@pytest.mark.parametrize("name", scenario_names())
def test_every_switch_link_and_endpoint_is_there(name: str) -> None:
    scenario = load_scenario(name)
    topo = EdgeCoreTopo(scenario)
    assert len(topo.switches()) == len(scenario.switches)
    assert sorted(topo.hosts()) == sorted(e.id for e in scenario.endpoints)
    attachments = sum(map(len, plan_ports(scenario).endpoints.values()))
    assert len(topo.links()) == len(scenario.links) + attachments
    assert {topo.nodeInfo(bridge_name(s.id))["dpid"] for s in scenario.switches} == {
        f"{s.dpid:016x}" for s in scenario.switches
    }


@pytest.mark.parametrize("name", scenario_names())
def test_no_port_and_no_interface_is_used_twice(name: str) -> None:
    scenario = load_scenario(name)
    ports: Counter[tuple[str, int]] = Counter()
    names: Counter[str] = Counter()
    for _, _, link in EdgeCoreTopo(scenario).links(withInfo=True):
        for end in ("1", "2"):
            node, interface = link["node" + end], link["intfName" + end]
            names[interface] += 1
            assert len(interface) <= edgecore.INTERFACE_NAME_MAX
            if node in {bridge_name(s.id) for s in scenario.switches}:
                ports[node, link["port" + end]] += 1
                assert link["port" + end] >= 1
    assert set(ports.values()) == set(names.values()) == {1}


def test_links_carry_the_scenarios_figures() -> None:
    links = {info["link_id"]: info for _, _, info in EdgeCoreTopo(SMALL).links(withInfo=True) if "link_id" in info}
    assert links["edge3-core3"]["bw"] == 20
    assert links["core1-core3"]["delay"] == "6ms"


def test_a_roaming_user_is_plugged_in_wherever_it_will_be() -> None:
    assert [where.switch for where in plan_ports(SMALL).endpoints["u1"]] == ["edge1", "edge2"]
    more = replace(SMALL, moves=(*SMALL.moves, Roam("u1", 90, "edge3"), Roam("u1", 95, "edge2")))
    assert [where.switch for where in plan_ports(more).endpoints["u1"]] == ["edge1", "edge2", "edge3"]


def test_a_port_that_is_given_is_kept_and_left_to_its_owner() -> None:
    web = replace(SMALL.endpoint("web"), port=1)
    plan = plan_ports(replace(SMALL, endpoints=tuple(web if e.id == "web" else e for e in SMALL.endpoints)))
    assert plan.endpoints["web"][0].port == 1
    used = [b for link, (_, b) in zip(SMALL.links, plan.links, strict=True) if link.b == "core2"]
    used += [a for link, (a, _) in zip(SMALL.links, plan.links, strict=True) if link.a == "core2"]
    assert 1 not in used


def test_long_names_fit_and_stay_apart() -> None:
    names = [f"switch-of-a-very-long-street-{n}" for n in range(200)]
    assert len({bridge_name(name) for name in names}) == 200
    assert len({interface_name(name, port) for name in names for port in (1, 12, 123)}) == 600
    assert all(len(interface_name(name, 65000)) <= 15 for name in names)
    assert bridge_name("edge1") == "edge1"
    assert interface_name("edge1", 2) == "edge1-eth2"


def test_servers_are_hosts_only_when_asked() -> None:
    assert "e1" not in EdgeCoreTopo(SMALL).hosts()
    assert {s.id for s in SMALL.servers} <= set(edgecore.topos["edgecore"]("small").hosts())


def test_every_host_knows_every_address_that_it_may_send_to() -> None:
    known = neighbours(SMALL)
    nats = {external_address(v, SMALL.chain(v.chain).number) for v in SMALL.vnfs if v.type.function == "nat"}
    assert len(nats) == 2
    assert {e.ip for e in SMALL.endpoints} | {c.flow.dst_ip for c in SMALL.chains} | nats == set(known)


MN = Path("/usr/bin/mn")


@pytest.mark.skipif(not MN.is_file(), reason="Mininet's command is not installed")
@pytest.mark.parametrize("python", [sys.executable, "/usr/bin/python3"])
def test_the_file_loads_as_mininet_loads_it(python: str, tmp_path: Path) -> None:
    """As `mn --custom` does: executed by itself, from another folder, in the system's Python too."""
    file = Path(edgecore.__file__)
    script = (
        "import sys; sys.path.append(sys.argv[2]); customs = {};"
        "exec(compile(open(sys.argv[1]).read(), sys.argv[1], 'exec'), customs, customs);"
        "topo = customs['topos']['edgecore']('small'); print(len(topo.switches()), len(topo.hosts()))"
    )
    if subprocess.run([python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]).returncode:
        pytest.skip("this Python is too old")
    folder = "/usr/lib/python3/dist-packages" if python.startswith("/usr/bin") else str(tmp_path)
    done = subprocess.run([python, "-c", script, str(file), folder], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.split() == ["6", "11"], done.stderr
