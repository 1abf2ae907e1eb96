"""Writing a scenario as a file that reads back equal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import yaml

from twin.move_modes import AUTO
from twin.rewrites import needs_both_ways
from twin.scenario import (
    BurstTraffic,
    DiurnalTraffic,
    Link,
    PowerModel,
    Scenario,
    Server,
    ServiceChain,
    TraceTraffic,
    Traffic,
    VnfType,
)
from twin.scenario_schema import MOVE_LIMITS, SCHEMA

_REACH = ("engine", "engine_tls", "bridge", "ovsdb", "cgroup")  # of a server, as text


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def dump_scenario(scenario: Scenario) -> str:
    """The scenario as YAML, one line per object; reading it gives an equal scenario (but for `source`)."""
    head = {"schema": SCHEMA, "name": scenario.name, "period_s": scenario.period_s}
    lines = [f"{key}: {_flow(value)}" for key, value in head.items()]
    lines.append(f"objective: {_flow({'delay': scenario.objective.delay, 'energy': scenario.objective.energy})}")
    lines += _list("switches", ({"id": switch.id, "dpid": switch.dpid} for switch in scenario.switches))
    lines += _list("servers", map(_server, scenario.servers))
    lines += _list("links", map(_link, scenario.links))
    lines.append(f"access: {_flow(_fields(scenario.access, 'bandwidth_mbps', 'delay_ms'))}")
    lines += _list("endpoints", (_fields(e, "id", "at", "ip", "mac", "port") for e in scenario.endpoints))
    types = {vnf.type.name: vnf.type for vnf in scenario.vnfs}
    lines += ["vnf_types:", *(f"  {_flow(name)}: {_flow(_vnf_type(t))}" for name, t in types.items())]
    lines += _list("chains", map(_chain, scenario.chains))
    lines += ["placement:", *(f"  {_flow(c.id)}: {_flow(_hosts(scenario, c))}" for c in scenario.chains)]
    lines.append(f"limits: {_flow(_fields(scenario.limits, *MOVE_LIMITS))}")
    lines += _list("moves", (_fields(roam, "endpoint", "at_s", "to") for roam in scenario.moves))
    if scenario.migration:
        costs = {mode: asdict(cost) for mode, cost in scenario.migration.items()}
        lines += ["migration:", *(f"  {mode}: {_flow(cost)}" for mode, cost in costs.items())]
    return "\n".join(lines) + "\n"


def _list(key: str, items: Iterable[Mapping[str, object]]) -> list[str]:
    lines = [f"  - {_flow(item)}" for item in items]
    return [f"{key}:", *lines] if lines else [f"{key}: []"]


def _flow(value: object) -> str:
    """A value on one line."""
    text = yaml.dump(
        _short(value), Dumper=_Dumper, default_flow_style=True, sort_keys=False, width=float("inf"), allow_unicode=True
    )
    return str(text).removesuffix("...\n").strip()


def _short(value: object) -> object:
    """Whole floats below 2^53 without their point, for people's eyes; they read back the same."""
    if isinstance(value, Mapping):
        return {key: _short(item) for key, item in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _fields(value: object, *names: str) -> dict[str, object]:
    return {name: getattr(value, name) for name in names}


def _server(server: Server) -> dict[str, object]:
    default = PowerModel()
    names = ("sleep_w", "idle_w", "peak_w", "wake_s", "wake_j", "sleep_after_s")
    power = {
        name: getattr(server.power, name) for name in names if getattr(server.power, name) != getattr(default, name)
    }
    entry = _fields(server, "id", "tier", "at", "cpu_cores", "memory_mb")
    reach = {name: getattr(server, name) for name in _REACH if getattr(server, name)}
    ports = {"ports": [_fields(wired, "port", "network") for wired in server.ports]} if server.ports else {}
    return {**entry, **({"power": power} if power else {}), **reach, **ports}


def _link(link: Link) -> dict[str, object]:
    return {**_fields(link, "a", "b", "bandwidth_mbps", "delay_ms"), **({"name": link.name} if link.name else {})}


def _vnf_type(vnf_type: VnfType) -> dict[str, object]:
    numbers = _fields(vnf_type, "cpu_base", "cpu_per_mbps", "memory_mb", "state_mb", "service_ms", "function")
    image = {"image": vnf_type.image} if vnf_type.image else {}
    config = {"config": dict(vnf_type.config)} if vnf_type.config else {}
    moved = {"move": vnf_type.move} if vnf_type.move != AUTO else {}
    flags = {name: True for name in ("stateless", "allow_cold") if getattr(vnf_type, name)}
    return {**numbers, **image, **config, **moved, **flags}


def _chain(chain: ServiceChain) -> dict[str, object]:
    derived = needs_both_ways(vnf.type for vnf in chain.vnfs)
    return {
        "id": chain.id,
        "from": chain.ingress,
        "to": chain.egress,
        "vnfs": [vnf.type.name for vnf in chain.vnfs],
        "max_delay_ms": chain.max_delay_ms,
        "packet_bytes": chain.packet_bytes,
        "traffic": _traffic(chain.traffic),
        "flow": _fields(chain.flow, "proto", "dst_port"),
        **({} if chain.two_way == derived else {"two_way": chain.two_way}),
    }


def _traffic(traffic: Traffic) -> dict[str, object]:
    if isinstance(traffic, TraceTraffic):
        return {"profile": "trace", "file": str(traffic.file)}
    if isinstance(traffic, DiurnalTraffic):
        return {"profile": "diurnal", **_fields(traffic, "mean_mbps", "swing", "day_s", "noise", "phase")}
    if isinstance(traffic, BurstTraffic):
        return {"profile": "bursts", **_fields(traffic, "mean_mbps", "burst_mbps", "every_s", "length_s")}
    return {"profile": "constant", "mean_mbps": traffic.mean_mbps}


def _hosts(scenario: Scenario, chain: ServiceChain) -> list[str]:
    return [scenario.placement[vnf.id] for vnf in chain.vnfs]
