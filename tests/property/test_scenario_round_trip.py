"""Any scenario survives being written and read; any damage to a file is an error in words, never an exception."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import yaml
from hypothesis import given, settings

from twin.errors import Problem, ScenarioError
from twin.resources import scenario_path
from twin.scenario import Scenario
from twin.scenario_checks import cpu_demand
from twin.scenario_file import dump_scenario, parse_scenario, summarise

# words that YAML 1.1 takes for something else are the interesting ids
words = st.sampled_from(["on", "no", "null", "1e3", "0x1F", "12", "010", "1_0", "y", "true", "2020-01-01"])
ids = words | st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,9}", fullmatch=True)
positive = st.floats(1e-6, 1e9)
share = st.floats(0, 1)
NUMBERS = ("cpu_base", "cpu_per_mbps", "memory_mb", "state_mb", "service_ms")
MODES = ("stateless", "hand_over", "checkpoint", "cold")
costs = st.fixed_dictionaries({}, optional={"duration_s": share, "transfer_mbps": positive, "silence_ms": share})
FUNCTIONS = ("firewall", "nat", "monitor", "balancer")


@st.composite
def traffic(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["constant", "diurnal", "bursts"]))
    mean = draw(st.floats(0, 10))
    if kind == "diurnal":
        shape = {"swing": draw(share), "day_s": draw(positive), "noise": draw(share), "phase": draw(st.floats(-2, 2))}
        return {"profile": kind, "mean_mbps": mean, **shape}
    if kind == "bursts":
        every = draw(st.floats(1, 1e4))
        shape = {"burst_mbps": mean + draw(share), "every_s": every, "length_s": every * draw(st.floats(0.01, 1))}
        return {"profile": kind, "mean_mbps": mean, **shape}
    return {"profile": kind, "mean_mbps": mean}


def limits() -> st.SearchStrategy[dict[str, Any]]:
    """Any of the limits, each left out or within its range."""
    counts, gain = st.integers(1, 126), st.floats(-1, 1)
    names = ("moves_per_minute", "moves_per_server_minute", "max_parallel")
    optional: dict[str, st.SearchStrategy[Any]] = {
        **dict.fromkeys(names, counts),
        **dict.fromkeys(("min_gain", "min_gain_again"), gain),
        **dict.fromkeys(("cooldown_s", "failed_rest_s"), st.floats(0, 1e6)),
    }
    return st.fixed_dictionaries({}, optional=optional)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """A sound scenario file: a tree of switches, servers large enough, chains between two endpoints."""
    switches = draw(st.lists(ids, min_size=1, max_size=5, unique=True))
    links = [
        {"a": name, "b": draw(st.sampled_from(switches[:n])), "bandwidth_mbps": draw(positive), "delay_ms": draw(share)}
        for n, name in enumerate(switches)
        if n
    ]
    servers = [
        {
            "id": name,
            "tier": draw(st.sampled_from(["edge", "core"])),
            "at": draw(st.sampled_from(switches)),
            "cpu_cores": draw(st.floats(1e3, 1e6)),
            "memory_mb": draw(st.floats(1e6, 1e9)),
        }
        for name in draw(st.lists(ids, min_size=1, max_size=4, unique=True))
    ]
    numbers = st.fixed_dictionaries(dict.fromkeys(NUMBERS, share))
    config = st.dictionaries(ids, st.text() | st.integers(), max_size=2)
    names = draw(st.lists(ids, min_size=1, max_size=3, unique=True))
    types = {
        name: {
            "function": draw(st.sampled_from(FUNCTIONS)),
            "config": draw(config),
            **draw(numbers),
            "move": draw(st.sampled_from(["auto", "hand_over", "checkpoint", "cold"])),
            "allow_cold": True,
        }
        for name in names
    }
    ends = draw(st.lists(ids, min_size=2, max_size=4, unique=True))
    chains = [
        {
            "id": name,
            "from": ends[0],
            "to": ends[1],
            "vnfs": draw(st.lists(st.sampled_from(sorted(types)), min_size=1, max_size=7)),
            "max_delay_ms": draw(positive),
            "traffic": draw(traffic()),
        }
        for name in draw(st.lists(ids, min_size=1, max_size=4, unique=True))
    ]
    return {
        "schema": 1,
        "name": draw(st.from_regex(r"[a-z0-9-]{1,12}", fullmatch=True)),
        "period_s": draw(positive),
        "objective": {"delay": draw(st.floats(0.01, 1)), "energy": draw(share)},
        "switches": switches,
        "servers": servers,
        "links": links,
        "endpoints": [{"id": name, "at": draw(st.sampled_from(switches))} for name in ends],
        "vnf_types": types,
        "chains": chains,
        "migration": draw(st.dictionaries(st.sampled_from(MODES), costs, max_size=2)),
        "limits": draw(limits()),
    }


def written(document: dict[str, Any]) -> str:
    """The document with every float as its shortest exact decimal."""
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


def read(text: str) -> Scenario | None:
    """The scenario, or None where it is refused in words."""
    problems: tuple[Problem, ...] = ()
    try:
        return parse_scenario(text, "x.yaml")
    except ScenarioError as error:
        problems = error.problems
    assert problems
    assert all(p.file and p.line >= 1 and p.subject and p.message for p in problems)
    return None


@given(documents())
@settings(max_examples=40, deadline=None)
def test_a_scenario_survives_being_written_and_read(document: dict[str, Any]) -> None:
    links = {tuple(sorted((link["a"], link["b"]))) for link in document["links"]}
    names = {"-".join(pair) for pair in links} | {"-".join(reversed(pair)) for pair in links}
    if len(names) < 2 * len(links):  # a-b to c and a to b-c have one name
        return
    scenario = parse_scenario(written(document), "x.yaml")
    assert [chain.id for chain in scenario.chains] == [chain["id"] for chain in document["chains"]]
    assert {key: getattr(scenario.limits, key) for key in document["limits"]} == document["limits"]
    assert parse_scenario(dump_scenario(scenario), "x.yaml") == scenario
    assert summarise(scenario)


@given(documents())
@settings(max_examples=40, deadline=None)
def test_every_vnf_is_placed_where_it_fits(document: dict[str, Any]) -> None:
    scenario = read(written(document))
    if scenario is None:
        return
    cpu = cpu_demand(scenario)
    for server in scenario.servers:
        hosted = [vnf for vnf in scenario.vnfs if scenario.placement[vnf.id] == server.id]
        assert sum(cpu[vnf.id] for vnf in hosted) <= server.cpu_cores * (1 + 1e-6)
    assert list(scenario.placement.hosts) == [vnf.id for vnf in scenario.vnfs]


SMALL = scenario_path("small").read_text()
damage = st.sampled_from(["~", "[]", "{}", "-1", "1e999", "x", "'", ": ", "\n", "\t", "- ", "&a ", "*a", "<<: "])


@given(st.integers(0, len(SMALL) - 1), st.integers(0, 12), damage)
@settings(max_examples=80, deadline=None)
def test_damage_is_an_error_in_words(at: int, length: int, put: str) -> None:
    read(SMALL[:at] + put + SMALL[at + length :])


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_value_anywhere_is_an_error_in_words_or_fits(data: st.DataObject) -> None:
    """One value of the file, at any depth, becomes something else altogether."""
    document = yaml.safe_load(SMALL)
    holder: Any = document
    while True:
        key = data.draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
        if not isinstance(holder[key], dict | list) or not holder[key] or data.draw(st.booleans()):
            break
        holder = holder[key]
    scalars: st.SearchStrategy[Any] = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    other: st.SearchStrategy[Any] = scalars | st.just([]) | st.just({})
    holder[key] = data.draw(other | st.lists(other, max_size=2) | st.dictionaries(ids, other, max_size=2))
    read(written(document))


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
@settings(max_examples=100, deadline=None)
def test_noise_is_an_error_in_words(noise: bytes) -> None:
    assert read(noise.decode("utf-8", "replace")) is None
