"""What addresses the packets of a chain bear between its stops, where VNFs rewrite them (docs/steering.md, "Replies").

Position i is that of segment i: between stop i and stop i + 1. The *client* is whoever replies are addressed to, the
*server* whoever they come from. A nat gives all packets its external address as source, a balancer one of its backends
as destination; each puts back what it rewrote when replies pass it. Pure. Source: ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from twin.scenario import Scenario, ServiceChain, Vnf, VnfType


@dataclass(frozen=True, slots=True)
class Addresses:
    """What tells the replies of a two-way chain.

    `clients`: their destination at every position of the chain; `server`: their source at the egress, None where it is
    one of several.
    """

    clients: tuple[str, ...]
    server: str | None


@dataclass(frozen=True, slots=True)
class Position:
    """The addresses at one position; `servers` are those that a packet may have there."""

    client: str
    servers: tuple[str, ...]


def option_text(value: object) -> str:
    """A value of a VNF's configuration as its program reads it: what YAML takes for a truth value is `on` or `off`."""
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def option_values(vnf_type: VnfType, key: str) -> tuple[str, ...]:
    """All values that a VNF type's configuration gives an option."""
    value = vnf_type.config.get(key, ())
    return tuple(map(option_text, value if isinstance(value, list | tuple) else (value,)))


def needs_both_ways(types: Iterable[VnfType]) -> bool:
    """Whether one of these VNFs has to see the replies as well: it rewrites addresses or tracks connections."""
    return any(
        vnf_type.function in ("nat", "balancer")
        or (vnf_type.function == "firewall" and option_values(vnf_type, "track")[-1:] == ("on",))
        for vnf_type in types
    )


def external_address(vnf: Vnf, chain_number: int) -> str:
    """The address that a nat gives sources: its type's own, else one that no other nat has."""
    return next(reversed(option_values(vnf.type, "external")), f"10.255.{chain_number}.{vnf.index + 1}")


def backend_addresses(vnf: Vnf, chain: ServiceChain) -> tuple[str, ...]:
    """The backends of a balancer: its type's own, else the chain's one server."""
    return option_values(vnf.type, "backend") or (chain.flow.dst_ip,)


def positions(chain: ServiceChain) -> tuple[Position, ...]:
    """The addresses at every position, that of segment 0 first."""
    here = Position(chain.flow.src_ip, (chain.flow.dst_ip,))
    found = [here]
    for vnf in chain.vnfs:
        here = _behind(vnf, chain, here)
        found.append(here)
    return tuple(found)


def _behind(vnf: Vnf, chain: ServiceChain, before: Position) -> Position:
    if vnf.type.function == "nat":
        return Position(external_address(vnf, chain.number), before.servers)
    if vnf.type.function == "balancer":
        balanced = option_values(vnf.type, "virtual")[-1:] or before.servers
        if set(balanced) & set(before.servers):
            kept = (server for server in before.servers if server not in balanced)
            return Position(before.client, tuple(dict.fromkeys((*kept, *backend_addresses(vnf, chain)))))
    return before


def addresses(chain: ServiceChain) -> Addresses | None:
    """What tells the replies of a two-way chain; None for a chain whose replies go straight back."""
    if not chain.two_way:
        return None
    seen = positions(chain)
    servers = seen[-1].servers
    return Addresses(tuple(position.client for position in seen), servers[0] if len(servers) == 1 else None)


def stand_ins(chain: ServiceChain) -> Iterator[tuple[str, str]]:
    """(address, endpoint): under which addresses the ends of a two-way chain are known along it, their own included."""
    for position in positions(chain) if chain.two_way else ():
        yield position.client, chain.ingress
        for server in position.servers:
            yield server, chain.egress


def neighbours(scenario: Scenario) -> dict[str, str]:
    """IP to MAC of all that an endpoint may send to: endpoints, and the addresses that VNFs give them.

    MACs stay as they are all along a chain, so an address that a nat gives a user leads to the user's own.
    """
    macs = {endpoint.id: endpoint.mac.lower() for endpoint in scenario.endpoints}
    given = {address: macs[end] for chain in scenario.chains for address, end in stand_ins(chain)}
    flows = {chain.flow.dst_ip: macs[chain.egress] for chain in scenario.chains}
    return {**given, **flows, **{endpoint.ip: macs[endpoint.id] for endpoint in scenario.endpoints}}


def further_addresses(scenario: Scenario) -> Mapping[str, tuple[str, ...]]:
    """By endpoint the addresses at which balancers expect it besides its own."""
    found: dict[str, dict[str, None]] = {endpoint.id: {} for endpoint in scenario.endpoints}
    for chain in scenario.chains:
        if chain.two_way:
            own = scenario.endpoint(chain.egress).ip
            found[chain.egress].update(dict.fromkeys(a for a in positions(chain)[-1].servers if a != own))
    return {endpoint: tuple(others) for endpoint, others in found.items()}
