"""What must hold for replies to find their way back through the VNFs of two-way chains (docs/scenario.md)."""

from __future__ import annotations

import ipaddress
from itertools import combinations

from twin.rewrites import Addresses, addresses, stand_ins
from twin.scenario import Flow, Scenario, ServiceChain
from twin.scenario_nodes import Findings


def check_replies(scenario: Scenario, findings: Findings) -> None:
    """Notes addresses that cannot be, that stand for two endpoints, and replies that two chains would both take."""
    chains = [chain for chain in scenario.chains if chain.flow.src_ip and chain.flow.dst_ip]
    owners = {endpoint.ip: endpoint.id for endpoint in scenario.endpoints}
    for chain in chains:
        _check_addresses(chain, owners, findings)
    for one, other in combinations(chains, 2):
        if one.two_way or other.two_way:
            _check_pair(one, other, findings)


def overlap(one: Flow, other: Flow) -> bool:
    """Whether packets between the same addresses could be of both flows."""
    if "any" in (one.proto, other.proto):
        return True
    return (one.proto, one.dst_port) == (other.proto, other.dst_port)


def _check_addresses(chain: ServiceChain, owners: dict[str, str], findings: Findings) -> None:
    for address, endpoint in dict.fromkeys(stand_ins(chain)):
        if not _is_address(address):
            findings.about(f"chain {chain.id}", "vnfs", f"vnfs: '{address}' is no IPv4 address of a host")
        elif (owner := owners.setdefault(address, endpoint)) != endpoint:
            message = f"vnfs: {address} would stand for '{endpoint}', and stands for '{owner}' already"
            findings.about(f"chain {chain.id}", "vnfs", message)


def _is_address(text: str) -> bool:
    try:
        return not ipaddress.IPv4Address(text).is_multicast
    except ValueError:
        return False


def _check_pair(one: ServiceChain, other: ServiceChain, findings: Findings) -> None:
    """Replies are told apart at the egress, by their addresses, protocol and source port."""
    same_end = one.egress == other.egress and overlap(one.flow, other.flow)
    mine, theirs = _replies(one), _replies(other)
    servers_differ = None not in (mine.server, theirs.server) and mine.server != theirs.server
    if same_end and mine.clients[-1] == theirs.clients[-1] and not servers_differ:
        flow = f"{other.flow.proto} {other.flow.dst_port} to {theirs.clients[-1]}"
        message = f"flow: replies by {flow} are those of chain {one.id} already (give it another port or address)"
        findings.about(f"chain {other.id}", "flow", message)


def _replies(chain: ServiceChain) -> Addresses:
    return addresses(chain) or Addresses((chain.flow.src_ip,), chain.flow.dst_ip)
