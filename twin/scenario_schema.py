"""From the tables of a scenario file to values: which keys there are, their ranges and defaults (docs/scenario.md).

What refers to something else is taken as written here; `twin.scenario_checks` looks whether it is there.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import cast

from yaml.nodes import MappingNode, Node, ScalarNode

from twin.migration_cost import PRIORS, MigrationCost
from twin.move_limits import MoveLimits
from twin.scenario import (
    MAX_CHAINS,
    Access,
    Endpoint,
    Link,
    Objective,
    PowerModel,
    Roam,
    Scenario,
    Server,
    Switch,
    Tier,
    WiredPort,
)
from twin.scenario_nodes import Findings, line_of, peek
from twin.scenario_services import read_chains, read_placement, read_vnf_types
from twin.scenario_table import ROOT, Table, item

SCHEMA = 1
ROOT_KEYS = (
    *("schema", "name", "period_s", "objective", "power"),
    *("switches", "servers", "links", "access", "endpoints"),
    *("vnf_types", "chains", "placement", "moves", "migration", "limits"),
)
_POWER_KEYS = ("sleep_w", "idle_w", "peak_w", "wake_s", "wake_j", "sleep_after_s")
_COST_KEYS = ("duration_s", "silence_ms", "extra_power_w", "transfer_mbps", "transfer_j_per_mb")
_ENDPOINT_KEYS = ("id", "at", "ip", "mac", "port")
_SERVER_KEYS = (
    *("id", "tier", "at", "cpu_cores", "memory_mb", "power"),
    *("engine", "engine_tls", "bridge", "ovsdb", "ports", "cgroup"),
)
MOVE_LIMITS = (
    *("cooldown_s", "moves_per_minute", "moves_per_server_minute"),
    *("max_parallel", "min_gain", "min_gain_again", "failed_rest_s"),
)
_MANY = 1000
_ENGINES = ("unix://", "ssh://", "tcp://", "process:")
_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")
_DPID_MAX = 2**64 - 1
_OFPP_MAX = 0xFFFFFF00


def read_scenario(root: Node, findings: Findings, source: Path | None) -> Scenario:
    """All values of a file, with the placement as far as it is given (`twin.scenario_checks.place` fills the rest)."""
    table = Table(findings, root, ROOT, ROOT_KEYS)
    if table.whole("schema", low=0, high=2**31) not in (SCHEMA, -1):
        table.wrong("schema", f"is not known: this version reads schema {SCHEMA}")
    folder = (source or Path()).parent
    endpoints = tuple(_endpoint(t, n) for n, t in enumerate(table.tables("endpoints", _ENDPOINT_KEYS)))
    chains = read_chains(table, read_vnf_types(table, folder), {e.id: e for e in endpoints}, folder)
    power = _power(table, PowerModel())
    return Scenario(
        name=_name(table),
        period_s=table.number("period_s", above=0),
        objective=_objective(table),
        switches=tuple(_switch(findings, node, n) for n, node in enumerate(table.some("switches"), 1)),
        servers=tuple(_server(t, power, folder) for t in table.tables("servers", _SERVER_KEYS)),
        links=tuple(_link(t) for t in _links(table)),
        access=_access(table),
        endpoints=endpoints,
        chains=chains,
        placement=read_placement(table, chains),
        moves=_moves(table),
        migration=_migration(table),
        limits=_limits(table),
        source=source,
    )


def _name(table: Table) -> str:
    name = table.text("name")
    if name and not re.fullmatch(r"[a-z0-9-]+", name):
        table.wrong("name", f"'{name}' must be lower-case letters, digits and '-'")
    return name


def _objective(table: Table) -> Objective:
    sub = table.sub("objective", ("delay", "energy"))
    if sub is None:
        return Objective()
    weights = Objective(sub.number("delay", low=0, high=1), sub.number("energy", low=0, high=1))
    if weights.delay == 0 and weights.energy == 0:
        sub.wrong("", "delay and energy are both 0: nothing would be optimised")
    return weights


def _power(table: Table, default: PowerModel) -> PowerModel:
    sub = table.sub("power", _POWER_KEYS)
    if sub is None:
        return default
    power = PowerModel(**{key: sub.number(key, getattr(default, key), low=0) for key in _POWER_KEYS})
    if _disordered(power) and not _disordered(default):  # a wrong default is told where it stands
        sub.wrong(
            "", f"must have sleep_w <= idle_w <= peak_w, not {power.sleep_w:g}, {power.idle_w:g}, {power.peak_w:g}"
        )
    return power


def _migration(table: Table) -> dict[str, MigrationCost]:
    """What a move costs, by mode; what is not given of a mode is its default."""
    sub = table.sub("migration", tuple(PRIORS))
    modes = {mode: sub.sub(mode, _COST_KEYS) for mode in sub.entries} if sub else {}
    return {mode: _cost(costs, PRIORS[mode]) for mode, costs in modes.items() if costs is not None}


def _cost(table: Table, prior: MigrationCost) -> MigrationCost:
    given = {key: table.number(key, getattr(prior, key), low=0) for key in _COST_KEYS if key != "transfer_mbps"}
    return MigrationCost(**given, transfer_mbps=table.number("transfer_mbps", prior.transfer_mbps, above=0))


def _disordered(power: PowerModel) -> bool:
    return power.sleep_w > power.idle_w or power.idle_w > power.peak_w


def _access(table: Table) -> Access:
    sub = table.sub("access", ("bandwidth_mbps", "delay_ms"))
    if sub is None:
        return Access()
    return Access(sub.number("bandwidth_mbps", 1000.0, above=0), sub.number("delay_ms", 0.1, low=0))


def _switch(findings: Findings, node: Node, place: int) -> Switch:
    """`core1` or `{id: core1, dpid: 0x1}`; the default dpid is the place in the file."""
    if isinstance(node, MappingNode):
        table = item(findings, node, "switches", place, ("id", "dpid"))
    else:
        table = item(findings, _id_only(node), "switches", place, ("id", "dpid"))
    return Switch(table.ident(), table.whole("dpid", place, low=1, high=_DPID_MAX))


def _id_only(node: Node) -> Node:
    """The short form of a switch as the long one."""
    key = ScalarNode("tag:yaml.org,2002:str", "id", node.start_mark, node.end_mark)
    return MappingNode("tag:yaml.org,2002:map", [(key, node)], node.start_mark, node.end_mark)


def _server(table: Table, power: PowerModel, folder: Path) -> Server:
    engine = table.text("engine", "")
    if engine and not engine.startswith(_ENGINES):
        table.wrong("engine", f"must start with one of {', '.join(_ENGINES)}, not '{engine}'")
    return Server(
        id=table.ident(),
        tier=cast(Tier, table.text("tier", choices=("edge", "core"))),
        at=table.text("at"),
        cpu_cores=table.number("cpu_cores", above=0),
        memory_mb=table.number("memory_mb", above=0),
        power=_power(table, power),
        engine=engine,
        bridge=table.text("bridge", ""),
        ovsdb=table.text("ovsdb", ""),
        cgroup=table.text("cgroup", ""),
        engine_tls=_folder(table, "engine_tls", folder),
        ports=_wired_ports(table),
    )


def _folder(table: Table, key: str, beside: Path) -> str:
    """A folder named in the file, which is beside it unless the name is absolute."""
    name = table.text(key, "")
    return str((beside / name).absolute()) if name else ""


def _wired_ports(table: Table) -> tuple[WiredPort, ...]:
    """`[{port: 11, network: vnf11}, …]`; where the network has no name it is called after the port: `vnf11`."""
    result: list[WiredPort] = []
    for place, node in enumerate(table.items("ports", required=False), 1):
        entry = Table(table.findings, node, f"{table.subject} ports[{place}]", ("port", "network"))
        port = entry.whole("port", low=1, high=_OFPP_MAX)
        result.append(WiredPort(port, entry.text("network", f"vnf{port}")))
    return tuple(result)


def _links(table: Table) -> list[Table]:
    """The links' tables; their subject is `link a-b`. One switch alone needs none."""
    keys = ("a", "b", "bandwidth_mbps", "delay_ms", "name")
    result = []
    for place, node in enumerate(table.items("links"), 1):
        a, b = peek(node, "a"), peek(node, "b")
        subject = f"link {a}-{b}" if a and b else f"links[{place}]"
        if {(subject, ""), (f"link {b}-{a}", "")} & set(table.findings.lines) and a and b:
            table.findings.add(line_of(node), subject, "is given twice (links are full duplex)")
        result.append(Table(table.findings, node, subject, keys))
    return result


def _link(table: Table) -> Link:
    link = Link(
        table.text("a"),
        table.text("b"),
        table.number("bandwidth_mbps", above=0),
        table.number("delay_ms", low=0),
        table.text("name", ""),
    )
    if link.a and link.a == link.b:
        table.wrong("b", f"'{link.b}' is the same switch as a")
    return link


def _endpoint(table: Table, order: int) -> Endpoint:
    """An endpoint; the defaults of address and MAC follow from its place in the file (`order`, from 0)."""
    ip = table.text("ip", f"10.0.{order // 250}.{order % 250 + 1}")
    mac = table.text("mac", f"02:00:00:00:{(order + 1) >> 8:02x}:{(order + 1) & 255:02x}").lower()
    if ip and not _is_host_address(ip):
        table.wrong("ip", f"'{ip}' is no IPv4 address of a host")
    if mac and (not _MAC.fullmatch(mac) or int(mac[:2], 16) & 1 or not int(mac.replace(":", ""), 16)):
        table.wrong("mac", f"'{mac}' is no unicast MAC address such as 02:00:00:00:00:01")
    return Endpoint(table.ident(), table.text("at"), ip, mac, table.whole("port", 0, low=0, high=_OFPP_MAX))


def _is_host_address(text: str) -> bool:
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return not (address.is_multicast or address.is_unspecified or address.is_loopback or int(address) == 2**32 - 1)


def _moves(table: Table) -> tuple[Roam, ...]:
    keys = ("endpoint", "at_s", "to")
    tables = [
        Table(table.findings, n, f"moves[{i}]", keys) for i, n in enumerate(table.items("moves", required=False), 1)
    ]
    return tuple(Roam(t.text("endpoint"), t.number("at_s", low=0), t.text("to")) for t in tables)


def _limits(table: Table) -> MoveLimits:
    sub, default = table.sub("limits", MOVE_LIMITS), MoveLimits()
    if sub is None:
        return default
    return MoveLimits(
        cooldown_s=sub.number("cooldown_s", default.cooldown_s, low=0),
        moves_per_minute=sub.whole("moves_per_minute", default.moves_per_minute, low=1, high=_MANY),
        moves_per_server_minute=sub.whole(
            "moves_per_server_minute", default.moves_per_server_minute, low=1, high=_MANY
        ),
        max_parallel=sub.whole("max_parallel", default.max_parallel, low=1, high=MAX_CHAINS),
        min_gain=sub.number("min_gain", default.min_gain, low=-1, high=1),
        min_gain_again=sub.number("min_gain_again", default.min_gain_again, low=-1, high=1),
        failed_rest_s=sub.number("failed_rest_s", default.failed_rest_s, low=0),
    )
