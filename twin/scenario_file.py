"""Scenario files: read and checked, written, and summed up (docs/scenario.md)."""

from __future__ import annotations

from pathlib import Path

from yaml.nodes import MappingNode

from twin.errors import InputError
from twin.resources import scenario_names, scenario_path
from twin.scenario import Placement, Scenario, ServiceChain
from twin.scenario_checks import check, cpu_demand, place
from twin.scenario_dump import dump_scenario
from twin.scenario_nodes import Findings, compose, did_you_mean
from twin.scenario_schema import read_scenario
from twin.traffic import mean_mbps

__all__ = ["dump_scenario", "load_scenario", "parse_scenario", "summarise"]


def load_scenario(path: Path | str) -> Scenario:
    """The scenario of a file, or a shipped one by its name (`small`); a file of that name wins.

    InputError where it can't be read; ScenarioError, which is one, with everything that is wrong in it.
    """
    file = Path(path)
    if not file.is_file():
        file = _shipped(str(path))
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: is not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise InputError(f"{file}: can't be read: {error.strerror}") from None
    return parse_scenario(text, file)


def _shipped(name: str) -> Path:
    """File of a shipped scenario; InputError with what there is."""
    try:
        return scenario_path(name)
    except KeyError:
        what = "is a folder, not a scenario file" if Path(name).is_dir() else "no such file and no shipped scenario"
        names = scenario_names()
        raise InputError(f"{name}: {what}{did_you_mean(name, names)}; shipped are {', '.join(names)}") from None


def parse_scenario(text: str, file: Path | str | None = None) -> Scenario:
    """The scenario of a YAML text. `file` names it in messages, and traces are looked for beside it.

    ScenarioError with everything that is wrong.
    """
    findings = Findings(str(file) if file is not None else "<text>")
    scenario: Scenario | None = None
    try:
        scenario = _read(text, findings, Path(file) if file is not None else None)
    except RecursionError:  # an alias that holds itself
        findings.add(1, "file", "nested too deeply")
    findings.finish()
    assert scenario is not None
    return scenario


def _read(text: str, findings: Findings, source: Path | None) -> Scenario | None:
    root = compose(text, findings)
    if root is None:
        return None
    if not isinstance(root, MappingNode):
        findings.add(1, "file", "must be a mapping with the keys of a scenario")
        return None
    scenario = read_scenario(root, findings, source)
    check(scenario, findings)
    return place(scenario, findings)


def summarise(scenario: Scenario) -> str:
    """Several lines for people: counts, mean demand against capacity, and every chain with its placement."""
    edge = sum(server.tier == "edge" for server in scenario.servers)
    counts = (
        f"{scenario.name}: {len(scenario.switches)} switches, {len(scenario.links)} links, "
        f"{len(scenario.servers)} servers ({edge} edge, {len(scenario.servers) - edge} core), "
        f"{len(scenario.endpoints)} endpoints, {len(scenario.chains)} chains with {len(scenario.vnfs)} VNFs, "
        f"{len(scenario.moves)} roaming moves; period {scenario.period_s:g} s"
    )
    width = max(len(chain.id) for chain in scenario.chains)
    chains = [f"  {chain.id:<{width}}  {_chain_line(chain, scenario.placement)}" for chain in scenario.chains]
    return "\n".join([counts, *_capacity_lines(scenario), "chains:", *chains])


def summary(scenario: Scenario) -> dict[str, object]:
    """The same for programs: counts, CPU in cores at mean traffic, memory in MB."""
    return {
        "name": scenario.name,
        "period_s": scenario.period_s,
        "switches": len(scenario.switches),
        "links": len(scenario.links),
        "servers": len(scenario.servers),
        "endpoints": len(scenario.endpoints),
        "chains": len(scenario.chains),
        "vnfs": len(scenario.vnfs),
        "roaming_moves": len(scenario.moves),
        "cpu_demand_cores": sum(cpu_demand(scenario).values()),
        "cpu_cores": sum(server.cpu_cores for server in scenario.servers),
        "memory_demand_mb": sum(vnf.type.memory_mb for vnf in scenario.vnfs),
        "memory_mb": sum(server.memory_mb for server in scenario.servers),
        "placement": dict(scenario.placement.hosts),
    }


def _capacity_lines(scenario: Scenario) -> list[str]:
    cpu, cores = sum(cpu_demand(scenario).values()), sum(server.cpu_cores for server in scenario.servers)
    memory, size = sum(v.type.memory_mb for v in scenario.vnfs), sum(server.memory_mb for server in scenario.servers)
    used = len(set(scenario.placement.hosts.values()))
    return [
        f"  CPU at mean traffic: {cpu:.3g} of {cores:.3g} cores ({cpu / cores:.0%})",
        f"  memory: {memory:g} of {size:g} MB ({memory / size:.0%})",
        f"  initial placement uses {used} of {len(scenario.servers)} servers",
    ]


def _chain_line(chain: ServiceChain, placement: Placement) -> str:
    stops = " -> ".join(f"{vnf.type.name}@{placement[vnf.id]}" for vnf in chain.vnfs)
    limits = f"{mean_mbps(chain.traffic):.3g} Mbit/s mean, at most {chain.max_delay_ms:g} ms"
    return f"{chain.ingress} -> {stops} -> {chain.egress}  ({limits})"
