"""What addresses packets bear along a chain, and the scenarios that are refused since replies could go astray."""

from __future__ import annotations

import pytest

from controller.hosts import vnf_config
from controller.rules import chain_rules
from controller.steering import Attachment, SteeringError, steer
from controller.tags import Role, parse_cookie
from twin.errors import ScenarioError
from twin.rewrites import Addresses, Position, addresses, further_addresses, neighbours, positions
from twin.scenario import Scenario
from twin.scenario_file import dump_scenario, load_scenario, parse_scenario

TEXT = """
schema: 1
name: both
period_s: 4
switches: [a, b]
servers:
  - {id: s1, tier: edge, at: a, cpu_cores: 4, memory_mb: 9000}
links:
  - {a: a, b: b, bandwidth_mbps: 10, delay_ms: 2}
endpoints:
  - {id: u, at: a}
  - {id: v, at: a}
  - {id: w, at: b}
vnf_types:
  nat: {NUMBERS}
  balancer: {NUMBERS, config: {backend: [10.9.0.1, 10.9.0.2]}}
  monitor: {NUMBERS}
  firewall: {NUMBERS}
  tracking: {NUMBERS, function: firewall, config: {track: on}}
  shared: {NUMBERS, function: nat, config: {external: 192.0.2.1}}
chains:
  - {id: one, from: u, to: w, vnfs: [VNFS], max_delay_ms: 60, traffic: {profile: constant, mean_mbps: 1}MORE}
  - {id: two, from: FROM, to: w, vnfs: [VNFS2], max_delay_ms: 60, traffic: {profile: constant, mean_mbps: 1}MORE2}
""".replace("NUMBERS", "cpu_base: 0.1, cpu_per_mbps: 0.1, memory_mb: 50, state_mb: 1, service_ms: 1")


def both(vnfs: str, vnfs2: str = "monitor", *, more: str = "", more2: str = "", ingress2: str = "v") -> Scenario:
    text = TEXT.replace("VNFS2", vnfs2).replace("MORE2", more2).replace("FROM", ingress2)
    return parse_scenario(text.replace("VNFS", vnfs).replace("MORE", more), "both.yaml")


def test_positions_follow_each_rewriting() -> None:
    scenario = both("monitor, nat, balancer, nat")
    own, server, backends = "10.0.0.1", ("10.0.0.3",), ("10.9.0.1", "10.9.0.2")
    assert positions(scenario.chains[0]) == (
        Position(own, server),
        Position(own, server),
        Position("10.255.1.2", server),
        Position("10.255.1.2", backends),
        Position("10.255.1.4", backends),
    )
    clients = (own, own, "10.255.1.2", "10.255.1.2", "10.255.1.4")
    assert addresses(scenario.chains[0]) == Addresses(clients, None)
    assert addresses(scenario.chains[1]) is None


def test_a_vnf_is_configured_with_the_addresses_that_the_rules_expect() -> None:
    scenario = both("nat, balancer, tracking")
    nat, balancer, tracking = (vnf_config(vnf, scenario) for vnf in scenario.chains[0].vnfs)
    assert f"external {positions(scenario.chains[0])[1].client}" in nat
    assert [line for line in balancer if "backend" in line] == ["backend 10.9.0.1", "backend 10.9.0.2"]
    assert "track on" in tracking
    assert vnf_config(load_scenario("small").vnf("web1.balancer"), load_scenario("small"))[-1] == "backend 10.0.0.4"


def test_a_balancer_of_another_address_rewrites_nothing() -> None:
    text = TEXT.replace("config: {backend: [", "config: {virtual: 10.8.0.1, backend: [")
    for old, new in (("VNFS2", "monitor"), ("VNFS", "balancer"), ("MORE2", ""), ("MORE", ""), ("FROM", "v")):
        text = text.replace(old, new)
    chain = parse_scenario(text, "both.yaml").chains[0]
    assert addresses(chain) == Addresses(("10.0.0.1", "10.0.0.1"), "10.0.0.3")


@pytest.mark.parametrize(
    ("vnfs", "more", "two_way"),
    [
        ("monitor, firewall", "", False),
        ("nat", "", True),
        ("balancer", "", True),
        ("firewall, tracking", "", True),
        ("nat", ", two_way: false", False),
        ("monitor", ", two_way: true", True),
    ],
)
def test_a_chain_is_two_way_where_a_vnf_needs_it_or_the_file_says_so(vnfs: str, more: str, two_way: bool) -> None:
    scenario = both(vnfs, more=more)
    assert scenario.chains[0].two_way is two_way
    assert parse_scenario(dump_scenario(scenario), "both.yaml").chains == scenario.chains


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"vnfs": "nat", "more": ", two_way: maybe"}, "chain one: two_way must be one of true, false"),
        ({"vnfs": "shared", "vnfs2": "shared"}, "chain two: vnfs: 192.0.2.1 would stand for 'v', and stands for 'u'"),
        (
            {
                "vnfs": "shared", "vnfs2": "shared", "ingress2": "u",
                "more": ", flow: {dst_port: 80}", "more2": ", flow: {dst_port: 80}",
            },
            "chain two: flow: replies by udp 80 to 192.0.2.1 are those of chain one already",
        ),
    ],
)  # fmt: skip
def test_replies_that_could_not_be_told_apart_are_refused(kwargs: dict[str, str], message: str) -> None:
    with pytest.raises(ScenarioError) as raised:
        both(**kwargs)
    assert message in str(raised.value)


def test_one_external_address_serves_two_chains_of_a_user_by_their_ports() -> None:
    scenario = both("shared", "shared", ingress2="u", more2=", flow: {dst_port: 81}")
    assert [addresses(chain) for chain in scenario.chains] == [Addresses(("10.0.0.1", "192.0.2.1"), "10.0.0.3")] * 2


@pytest.mark.parametrize(
    ("config", "message"),
    [("external: 10.0.0.3", "10.0.0.3 would stand for 'u'"), ("external: nowhere", "'nowhere' is no IPv4 address")],
)
def test_an_external_address_must_be_an_address_of_its_own(config: str, message: str) -> None:
    text = TEXT.replace("external: 192.0.2.1", config)
    for old, new in (("VNFS2", "monitor"), ("VNFS", "shared"), ("MORE2", ""), ("MORE", ""), ("FROM", "v")):
        text = text.replace(old, new)
    with pytest.raises(ScenarioError) as raised:
        parse_scenario(text, "both.yaml")
    assert message in str(raised.value)


def test_endpoints_are_told_the_macs_behind_all_addresses_they_may_see() -> None:
    scenario = both("nat, balancer")
    macs = {endpoint.id: endpoint.mac for endpoint in scenario.endpoints}
    assert neighbours(scenario) == {
        **{endpoint.ip: endpoint.mac for endpoint in scenario.endpoints},
        "10.255.1.1": macs["u"], "10.9.0.1": macs["w"], "10.9.0.2": macs["w"],
    }  # fmt: skip
    assert further_addresses(scenario) == {"u": (), "v": (), "w": ("10.9.0.1", "10.9.0.2")}


def test_two_way_chains_have_room_for_seven_vnfs() -> None:
    ports = [Attachment("a", 10 + i) for i in range(10)]
    chain = both("nat").chains[0]

    def steered(vnfs: int) -> int:
        replies = Addresses(tuple(f"10.255.0.{i}" for i in range(vnfs + 1)), "10.0.0.3")
        steering = steer(1, chain.flow, tuple(ports[: vnfs + 2]), lambda a, _b: (a,), replies)
        tags = {parse_cookie(rule.cookie) for rule in chain_rules(steering, {}) if rule.table == 1}
        return len({cookie.segment for cookie in tags if cookie and cookie.role is Role.PATH})

    assert [steered(vnfs) for vnfs in (1, 7)] == [4, 16]
    with pytest.raises(SteeringError, match="chain 1: 10 stops with 9 segments; the tag has room for 8 segments"):
        steered(8)
