"""Prometheus metrics: read from the controller's own state at scrape time, never mirrored into gauges.

Names follow the naming rules: prefix `vnftwin_`, base units (seconds, watts, bytes per second, ratios), `_total` for
counters, closed label sets (ids of the scenario and enumerated reasons). A counter whose labels are known beforehand
begins at 0 for each, or its first increase would not be seen. Each registry belongs to one controller. Every metric is
in docs/metrics.md, which a test compares with what is exported.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol, get_args

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from controller.records import Mode
from controller.refusals import REFUSALS
from controller.steps import Step

disable_created_metrics()  # type: ignore[no-untyped-call]  # when each histogram was made: series that nobody asks for
BYTES_PER_MBIT = 125_000.0
MOVE_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
DECISION_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)

# name, help, key of the description, factor to the base unit; one row per server, link or chain
_SERVER_GAUGES = (
    ("server_up", "1 where the server can host VNFs", "up", 1.0),
    ("server_awake", "1 awake, 0 asleep", "awake", 1.0),
    ("server_cpu_utilisation_ratio", "CPU in use by VNFs as a share of the server's quota", "cpu", 1.0),
    ("server_memory_utilisation_ratio", "memory in use by VNFs as a share of the server's", "memory", 1.0),
    ("server_power_watts", "power; modelled unless vnftwin_energy_modelled is 0", "power_w", 1.0),
    ("server_processing_delay_seconds", "mean processing delay of its VNFs (modelled)", "delay_ms", 1e-3),
)
_LINK_GAUGES = (
    ("link_up", "1 up, 0 down", "up", 1.0),
    ("link_bandwidth_bytes_per_second", "capacity in each direction", "bandwidth_mbps", BYTES_PER_MBIT),
    ("link_configured_delay_seconds", "one-way delay by the scenario", "configured_delay_ms", 1e-3),
    ("link_delay_seconds", "measured one-way delay", "delay_ms", 1e-3),
    ("link_forward_load_bytes_per_second", "load from a to b", "forward_mbps", BYTES_PER_MBIT),
    ("link_backward_load_bytes_per_second", "load from b to a", "backward_mbps", BYTES_PER_MBIT),
)
_CHAIN_GAUGES = (
    ("chain_delay_seconds", "end-to-end delay measured in band", "delay_ms", 1e-3),
    ("chain_expected_delay_seconds", "end-to-end delay by the cost model", "expected_delay_ms", 1e-3),
    ("chain_stay_delay_seconds", "the same had nothing ever moved (modelled)", "stay_delay_ms", 1e-3),
    ("chain_max_delay_seconds", "the most that the scenario allows", "max_delay_ms", 1e-3),
    ("chain_changing", "1 while its rules or instances are being changed", "changing", 1.0),
    ("chain_probe_loss_ratio", "share of in-band probes lost", "loss", 1.0),
    ("chain_offered_bytes_per_second", "offered traffic at the ingress", "offered_mbps", BYTES_PER_MBIT),
)
_MODE_GAUGES = (
    ("moves", "moves done, of those that are remembered", "moves", 1.0),
    ("move_seconds", "what a move takes, median", "took_ms", 1e-3),
    ("move_silence_seconds", "longest time without a probe during a move, median", "silence_ms", 1e-3),
)
_TOTALS = (
    ("delay_seconds", "traffic-weighted mean delay, measured", "delay_ms", 1e-3),
    ("expected_delay_seconds", "traffic-weighted mean delay by the cost model", "expected_delay_ms", 1e-3),
    ("stay_delay_seconds", "the same had nothing ever moved (modelled)", "stay_delay_ms", 1e-3),
    ("power_watts", "power of all servers", "power_w", 1.0),
    ("stay_power_watts", "the same had nothing ever moved (modelled)", "stay_power_w", 1.0),
)
_COUNTERS = (
    ("energy_joules", "energy of all servers", "energy_j"),
    ("stay_energy_joules", "the same had nothing ever moved (modelled)", "stay_energy_j"),
    ("handler_errors", "exceptions in event handlers", "handler_errors"),
    ("samples_ignored", "telemetry samples of unknown subjects or not finite", "samples_ignored"),
    ("rules_repaired", "missing rules installed again", "rules_repaired"),
    ("rules_alien", "rules in our cookie range that nobody asked for, removed", "rules_alien"),
    ("instances_surplus", "VNF instances of this run that served nothing, stopped", "instances_surplus"),
)
_PROBES = (
    ("chain_probes_sent", "in-band probes sent", "sent"),
    ("chain_probes_returned", "in-band probes that came back", "returned"),
    ("chain_probes_lost", "in-band probes that did not come back in time", "lost"),
)


class Describes(Protocol):
    """What is read at scrape time: the same descriptions that REST gives."""

    def describe(self, what: str) -> Any: ...


class ControllerMetrics(Collector):
    """A registry of its own with everything of one controller."""

    def __init__(self, controller: Describes) -> None:
        self._controller = controller
        self.registry = CollectorRegistry()
        self.decision_s = Histogram(
            "vnftwin_decision_seconds", "time to decide", registry=self.registry, buckets=DECISION_BUCKETS_S
        )
        self.step_s = Histogram(
            "vnftwin_migration_step_seconds", "time of one step of a migration", ["step"],
            registry=self.registry, buckets=MOVE_BUCKETS_S,
        )  # fmt: skip
        for step in get_args(Step):
            self.step_s.labels(step.__name__)
        ProcessCollector(registry=self.registry)
        self.registry.register(self)

    def render(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)

    def describe(self) -> list[Metric]:
        return []  # nothing is declared beforehand; asking the controller at registration would be too early

    def collect(self) -> Iterable[Metric]:
        state = self._controller.describe("state")
        told = {key: state[key] for key in ("scenario", "policy", "world")}
        yield InfoMetricFamily("vnftwin_build", "versions", value=_versions() | told)
        yield from _rows("server", _SERVER_GAUGES, self._controller.describe("servers"))
        yield from _rows("link", _LINK_GAUGES, self._controller.describe("links"))
        yield from _rows("chain", _CHAIN_GAUGES, state["chains"])
        yield from _probes(state["chains"])
        yield GaugeMetricFamily("vnftwin_ready", "1: packets can flow through every chain", not state["waiting_for"])
        yield _gauges("switch_connected", "1: speaks OpenFlow with us now", "switch", state["switches"])
        yield _gauges("mode", "1 for who decides: auto, advise or manual", "mode", _modes(state["mode"]))
        yield from _placement(state["placement"])
        for name, text, key, factor in _TOTALS:
            if state[key] is not None:
                yield GaugeMetricFamily(f"vnftwin_{name}", text, value=state[key] * factor)
        for name, text, key in _COUNTERS:
            yield CounterMetricFamily(f"vnftwin_{name}", text, value=state[key])
        yield GaugeMetricFamily("vnftwin_energy_modelled", "1: energy is modelled", state["energy_label"] == "modelled")
        yield _labelled("decisions", "decisions by what came of them", "outcome", state["decisions_by_outcome"])
        yield _labelled("migrations", "ended migrations", "status", state["migrations_by_status"])
        yield from _by_mode(state["migrations_by_mode"])
        yield _labelled(
            "messages_refused", "OpenFlow messages that switches refused", "error", state["messages_refused"]
        )
        yield _labelled("confirmations", "packets that were to prove a new way", "result", state["confirmations"])
        late = dict.fromkeys(state["switches"], 0) | state["answers_late"]
        yield _labelled("answers_late", "barriers and the like not answered in time", "switch", late)
        refusals = dict.fromkeys(REFUSALS, 0) | state["refusals"]
        yield _labelled("refusals", "moves that the verdict refused", "reason", refusals)
        yield from _twin(state["twin"])
        ages = GaugeMetricFamily("vnftwin_reading_age_seconds", "age of the oldest reading", labels=["quantity"])
        for quantity, age_s in state["oldest_reading_s"].items():
            if age_s is not None:
                ages.add_metric([quantity], age_s)
        yield ages


def _rows(label: str, gauges: tuple[tuple[str, str, str, float], ...], rows: Any) -> Iterator[Metric]:
    for name, text, key, factor in gauges:
        family = GaugeMetricFamily(f"vnftwin_{name}", text, labels=[label])
        for row in rows:
            if row[key] is not None:
                family.add_metric([row["id"]], float(row[key]) * factor)
        yield family


def _probes(chains: Any) -> Iterator[Metric]:
    for name, text, key in _PROBES:
        yield _labelled(name, text, "chain", {chain["id"]: chain["probes"][key] for chain in chains})


def _modes(mode: str) -> dict[str, bool]:
    return {each.value: each.value == mode for each in Mode}


def _gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"vnftwin_{name}", text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], float(value))
    return family


def _placement(placement: Mapping[str, str]) -> Iterator[Metric]:
    family = GaugeMetricFamily("vnftwin_vnf_placement", "1 for the server that hosts the VNF", labels=["vnf", "server"])
    for vnf, server in placement.items():
        family.add_metric([vnf, server], 1.0)
    yield family


def _by_mode(modes: Mapping[str, Mapping[str, float | None]]) -> Iterator[Metric]:
    for name, text, key, factor in _MODE_GAUGES:
        family = GaugeMetricFamily(f"vnftwin_{name}", text, labels=["mode"])
        for mode, row in modes.items():
            value = row[key]
            if value is not None:
                family.add_metric([mode], value * factor)
        yield family


def _twin(twin: Mapping[str, Any] | None) -> Iterator[Metric]:
    """How much of the forecast is its, and why (drift: above 1 it is worse than expecting nothing to change); nothing
    of this without a learned twin."""
    found = twin or {}
    trusted = GaugeMetricFamily("vnftwin_twin_trusted", "1: the twin has a share in the forecast; 0: persistence")
    if found.get("learned"):
        trusted.add_metric([], float(found["trusted"]))
    yield trusted
    share = "how much of the chain's forecast is the twin's, 0 to 1; the rest is persistence"
    yield _gauges("twin_share", share, "chain", found.get("share", {}))
    for name, text, key in (
        ("error_ratio", "the twin's error one period ahead over that of persistence, running mean", "error_ratio"),
        ("held_out_error_ratio", "the same when it was fitted, on what was held out", "hold_out"),
    ):
        yield _gauges(f"twin_{name}", text, "head", found.get(key, {}))


def _labelled(name: str, text: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"vnftwin_{name}", text, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family


def _versions() -> dict[str, str]:
    packages = {name: importlib.metadata.version(name) for name in ("vnftwin", "ryu", "torch")}
    return {"version": packages.pop("vnftwin"), "python": platform.python_version(), **packages}
