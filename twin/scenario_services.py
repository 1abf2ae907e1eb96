"""The services' part of a scenario file: VNF types, chains, traffic and placement, as values (docs/scenario.md)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, cast

from yaml.nodes import Node

from twin.move_modes import AUTO, MOVE_CHOICES, contradictions
from twin.rewrites import needs_both_ways
from twin.scenario import (
    MAX_CHAINS,
    MAX_VNFS,
    BurstTraffic,
    ConstantTraffic,
    DiurnalTraffic,
    Endpoint,
    Flow,
    Placement,
    ServiceChain,
    TraceTraffic,
    Traffic,
    Vnf,
    VnfType,
)
from twin.scenario_nodes import ID, did_you_mean, line_of, peek, plain, text_of
from twin.scenario_table import Table
from twin.trace_file import read_trace

ARCHIVE = ".tar"  # what the name of an image ends with that comes as a file
FUNCTIONS = ("firewall", "nat", "monitor", "balancer")
_TYPE_KEYS = (
    *("cpu_base", "cpu_per_mbps", "memory_mb", "state_mb", "service_ms", "function", "image", "config"),
    *("stateless", "move", "allow_cold"),
)
_CHAIN_KEYS = ("id", "from", "to", "vnfs", "max_delay_ms", "packet_bytes", "traffic", "flow", "two_way")
_TRAFFIC_KEYS = {
    "constant": ("mean_mbps",),
    "diurnal": ("mean_mbps", "swing", "day_s", "noise", "phase"),
    "bursts": ("mean_mbps", "burst_mbps", "every_s", "length_s"),
    "trace": ("file",),
}


def read_vnf_types(table: Table, folder: Path) -> dict[str, VnfType]:
    """The VNF types by name. `folder`: where the files are that they name."""
    sub = table.sub("vnf_types", None, required=True)
    names = sub.entries if sub else {}
    if sub and not names:
        sub.wrong("", "must not be empty")
    return {
        name: _vnf_type(Table(table.findings, node, f"vnf_type {name}", _TYPE_KEYS), name, folder)
        for name, node in names.items()
    }


def _vnf_type(table: Table, name: str, folder: Path) -> VnfType:
    if not ID.fullmatch(name):
        table.wrong("", f"the name '{name}' must be letters, digits, '-' and '_'")
    if name not in FUNCTIONS and "function" not in table.entries:
        table.wrong("", f"lacks 'function', which must be one of {', '.join(FUNCTIONS)} (the name alone does not tell)")
    kind = VnfType(
        name=name,
        cpu_base=table.number("cpu_base", low=0),
        cpu_per_mbps=table.number("cpu_per_mbps", low=0),
        memory_mb=table.number("memory_mb", low=0),
        state_mb=table.number("state_mb", low=0),
        service_ms=table.number("service_ms", low=0),
        function=table.text("function", name, choices=FUNCTIONS if "function" in table.entries else ()),
        image=_image(table, folder),
        config=_config(table),
        stateless=table.flag("stateless"),
        move=table.text("move", AUTO, choices=MOVE_CHOICES) or AUTO,
        allow_cold=table.flag("allow_cold"),
    )
    for key, message in contradictions(kind):
        table.wrong(key, message)
    return kind


def _image(table: Table, folder: Path) -> str:
    """A name that the engine knows, or the whole path of an archive beside the scenario file."""
    image = table.text("image", "")
    if not image.endswith(ARCHIVE):
        return image
    archive = (folder / image).absolute()
    if not archive.is_file():
        table.wrong("image", f"no such file: {archive}")
    return str(archive)


def _config(table: Table) -> dict[str, object]:
    sub = table.sub("config", None)
    result: dict[str, object] = {}
    for key, node in (sub.entries if sub else {}).items():
        try:
            result[key] = plain(node)
        except ValueError as error:
            table.wrong("config", f"{key}: {error}")
    return result


def read_chains(
    table: Table, types: dict[str, VnfType], endpoints: dict[str, Endpoint], folder: Path
) -> tuple[ServiceChain, ...]:
    tables = table.tables("chains", _CHAIN_KEYS)
    if len(tables) > MAX_CHAINS:
        table.wrong("chains", f"are {len(tables)}; the steering tag has room for {MAX_CHAINS}")
    return tuple(_chain(t, n, types, endpoints, folder) for n, t in enumerate(tables, 1))


def _chain(
    table: Table, number: int, types: dict[str, VnfType], endpoints: dict[str, Endpoint], folder: Path
) -> ServiceChain:
    ident, ingress, egress = table.ident(), table.text("from"), table.text("to")
    if ingress and ingress == egress:
        table.wrong("to", f"'{egress}' is where the chain comes from")
    vnfs = _vnfs(table, ident, types)
    return ServiceChain(
        id=ident,
        number=number,
        ingress=ingress,
        egress=egress,
        vnfs=vnfs,
        max_delay_ms=table.number("max_delay_ms", above=0),
        packet_bytes=table.whole("packet_bytes", 512, low=64, high=9000),
        traffic=_traffic(table, ident, folder),
        flow=_flow(table, number, endpoints.get(ingress), endpoints.get(egress)),
        two_way=table.flag("two_way", default=needs_both_ways(vnf.type for vnf in vnfs)),
    )


def _vnfs(table: Table, chain: str, types: dict[str, VnfType]) -> tuple[Vnf, ...]:
    names = [_type_name(table, node, types) for node in table.some("vnfs")]
    if len(names) > MAX_VNFS:
        table.wrong("vnfs", f"are {len(names)}; the steering tag has room for {MAX_VNFS} in a chain")
    vnfs = []
    for index, name in enumerate(names):
        repeat = f".{names[: index + 1].count(name)}" if names.count(name) > 1 else ""
        vnfs.append(Vnf(f"{chain}.{name}{repeat}", chain, index, types.get(name, _unknown(name))))
    return tuple(vnfs)


def _unknown(name: str) -> VnfType:
    """Stands in for a type that is not in the file; NaN passes every check."""
    return VnfType(name, math.nan, math.nan, math.nan, math.nan, math.nan)


def _type_name(table: Table, node: Node, types: dict[str, VnfType]) -> str:
    try:
        name = text_of(node)
    except ValueError as error:
        table.findings.add(line_of(node), table.subject, f"vnfs: an item {error}")
        return ""
    if name not in types:
        message = f"vnfs: unknown VNF type '{name}'{did_you_mean(name, types)}"
        table.findings.add(line_of(node), table.subject, message)
    return name


def _flow(table: Table, number: int, ingress: Endpoint | None, egress: Endpoint | None) -> Flow:
    """What classifies the chain's packets; UDP to port 5000 + number unless the file says otherwise."""
    sub = table.sub("flow", ("proto", "dst_port"))
    proto = sub.text("proto", "udp", choices=("udp", "tcp", "any")) if sub else "udp"
    port = sub.whole("dst_port", 5000 + number, low=1, high=65535) if sub else 5000 + number
    return Flow(
        ingress.ip if ingress else "", egress.ip if egress else "", cast(Literal["udp", "tcp", "any"], proto), port
    )


def _traffic(table: Table, chain: str, folder: Path) -> Traffic:
    """The chain's traffic; constant NaN where anything of it is wrong."""
    node = table.node("traffic")
    if node is None:
        return ConstantTraffic(math.nan)
    profile = peek(node, "profile")
    keys = _TRAFFIC_KEYS.get(profile, tuple(key for keys in _TRAFFIC_KEYS.values() for key in keys))
    sub = Table(table.findings, node, f"{table.subject} traffic", ("profile", *keys))
    before = len(table.findings.problems)
    traffic = _profile(sub, sub.text("profile", choices=tuple(_TRAFFIC_KEYS)), chain, folder)
    return traffic if len(table.findings.problems) == before else ConstantTraffic(math.nan)


def _profile(sub: Table, profile: str, chain: str, folder: Path) -> Traffic:
    if profile == "trace":
        return _trace(sub, chain, folder)
    mean = sub.number("mean_mbps", low=0) if profile else math.nan
    if profile == "diurnal":
        swing, day_s = sub.number("swing", low=0, high=1), sub.number("day_s", above=0)
        return DiurnalTraffic(mean, swing, day_s, sub.number("noise", 0.0, low=0), sub.number("phase", 0.0))
    if profile == "bursts":
        return _bursts(sub, mean)
    return ConstantTraffic(mean)


def _bursts(sub: Table, mean_mbps: float) -> BurstTraffic:
    traffic = BurstTraffic(
        mean_mbps, sub.number("burst_mbps", low=0), sub.number("every_s", above=0), sub.number("length_s", above=0)
    )
    if traffic.burst_mbps < traffic.mean_mbps:
        sub.wrong("burst_mbps", f"{traffic.burst_mbps:g} is below mean_mbps {traffic.mean_mbps:g}")
    if traffic.length_s > traffic.every_s:
        sub.wrong("length_s", f"{traffic.length_s:g} is longer than every_s {traffic.every_s:g}")
    return traffic


def _trace(sub: Table, chain: str, folder: Path) -> TraceTraffic:
    """A trace by its CSV file, which is named relative to the scenario file."""
    name = sub.text("file")
    file = (folder / name).resolve()
    points = read_trace(file, chain, sub.findings, lambda message: sub.wrong("file", message)) if name else ()
    return TraceTraffic(file, points)


def read_placement(table: Table, chains: tuple[ServiceChain, ...]) -> Placement:
    """The placement as far as it is given: chain by chain the servers of its VNFs."""
    sub = table.sub("placement", None)
    hosts: dict[str, str] = {}
    by_id = {chain.id: chain for chain in chains}
    for name in sub.entries if sub else ():
        assert sub is not None
        if name not in by_id:
            sub.wrong(name, f"is no chain{did_you_mean(name, by_id)}")
        else:
            hosts.update(_hosts(sub, by_id[name]))
    return Placement(hosts)


def _hosts(sub: Table, chain: ServiceChain) -> dict[str, str]:
    servers = []
    for node in sub.items(chain.id):
        try:
            servers.append(text_of(node))
        except ValueError as error:
            sub.wrong(chain.id, f"an item {error}")
            servers.append("")
    if len(servers) != len(chain.vnfs):
        sub.wrong(chain.id, f"names {len(servers)} servers for {len(chain.vnfs)} VNFs")
    filled = servers + [""] * len(chain.vnfs)
    return {vnf.id: filled[vnf.index] for vnf in chain.vnfs}
