"""Usage totals become rates, through restarts, moves and repeats."""

from __future__ import annotations

import pytest

from controller.containers import Instance, ServerUsage, Usage
from controller.host_usage import HostUsage
from twin.samples import Quantity, Sample
from twin.scenario_file import load_scenario

SCENARIO = load_scenario("small")
VNF = "web1.nat"


def instance(name: str = "i1", *, pid: int = 100) -> Instance:
    return Instance(name, name, VNF, "e1", pid, True, {})


def values(samples: list[Sample]) -> dict[Quantity, float]:
    return {sample.quantity: sample.value for sample in samples}


@pytest.fixture
def usage() -> HostUsage:
    return HostUsage(SCENARIO)


def test_cpu_is_the_growth_of_its_total(usage: HostUsage) -> None:
    assert values(usage.vnf(10.0, instance(), Usage(1.0, 16.0, 0, 0))) == {Quantity.VNF_MEMORY: 16.0}
    samples = usage.vnf(11.0, instance(), Usage(1.05, 17.0, 125_000, 250_000))
    assert values(samples) == {Quantity.VNF_MEMORY: 17.0, Quantity.VNF_CPU: pytest.approx(0.05)}
    assert {(s.subject, s.at_s) for s in samples} == {(VNF, 11.0)}
    rates = usage.vnf_rates(11.0, VNF)
    assert rates is not None
    assert rates.rx_mbps == pytest.approx(1.0)
    assert rates.tx_mbps == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("after", "total_s"), [(instance("i2"), 900.0), (instance(pid=101), 900.0), (instance(), 0.02)]
)
def test_another_life_is_a_new_base(usage: HostUsage, after: Instance, total_s: float) -> None:
    """Another instance, another process of it, or a total that went down."""
    usage.vnf(10.0, instance(), Usage(4.2, 16.0, 10_000, 0))
    usage.vnf(11.0, instance(), Usage(4.3, 16.0, 10_000, 0))
    assert Quantity.VNF_CPU not in values(usage.vnf(12.0, after, Usage(total_s, 1.0, 20_000, 0)))
    rising = values(usage.vnf(13.0, after, Usage(total_s + 0.1, 1.0, 20_000, 0)))
    assert rising[Quantity.VNF_CPU] == pytest.approx(0.1)


def test_a_total_in_nanoseconds_that_went_down_is_no_wrap(usage: HostUsage) -> None:
    """4.29 s are 2^32 ns: from just below, a restart must not look like a counter that wrapped."""
    usage.server(10.0, "e1", ServerUsage(4.29, 1.0))
    assert Quantity.SERVER_CPU not in values(usage.server(11.0, "e1", ServerUsage(0.05, 1.0)))


def test_a_server_reads_cpu_memory_and_that_it_is_up(usage: HostUsage) -> None:
    usage.server(10.0, "c1", ServerUsage(5.0, 100.0))
    assert values(usage.server(12.0, "c1", ServerUsage(5.4, 120.0))) == {
        Quantity.SERVER_UP: 1.0, Quantity.SERVER_MEMORY: 120.0, Quantity.SERVER_CPU: pytest.approx(0.2)
    }  # fmt: skip


def test_a_lost_server_is_down_and_counts_anew_when_it_returns(usage: HostUsage) -> None:
    usage.server(10.0, "c1", ServerUsage(5.0, 100.0))
    assert values(usage.server_lost(11.0, "c1")) == {Quantity.SERVER_UP: 0.0}
    assert Quantity.SERVER_CPU not in values(usage.server(12.0, "c1", ServerUsage(9.0, 100.0)))


def test_a_reading_taken_twice_changes_nothing(usage: HostUsage) -> None:
    usage.server(10.0, "c1", ServerUsage(5.0, 1.0))
    usage.server(11.0, "c1", ServerUsage(5.1, 1.0))
    assert Quantity.SERVER_CPU not in values(usage.server(11.0, "c1", ServerUsage(5.1, 1.0)))
    later = values(usage.server(12.0, "c1", ServerUsage(5.2, 1.0)))
    assert later[Quantity.SERVER_CPU] == pytest.approx(0.1)


def test_rates_are_means_over_the_control_period(usage: HostUsage) -> None:
    total_s = 0.0
    for second, cores in enumerate([0.0, 0.4, 0.4, 0.4, 0.4, 0.1, 0.1, 0.1, 0.1]):
        total_s += cores
        read = values(usage.server(float(second), "c1", ServerUsage(total_s, 1.0)))
    assert read[Quantity.SERVER_CPU] == pytest.approx(0.1)


def test_rates_grow_stale(usage: HostUsage) -> None:
    assert usage.vnf_rates(0.0, VNF) is None
    usage.vnf(10.0, instance(), Usage(1.0, 16.0, 0, 0))
    usage.vnf(11.0, instance(), Usage(1.1, 16.0, 0, 0))
    assert usage.vnf_rates(18.9, VNF) is not None
    assert usage.vnf_rates(19.1, VNF) is None


def test_unknown_subjects_are_errors(usage: HostUsage) -> None:
    with pytest.raises(KeyError):
        usage.server(1.0, "nowhere", ServerUsage(1.0, 1.0))
    with pytest.raises(KeyError):
        usage.vnf(1.0, Instance("x", "x", "no.vnf", "e1", 1, True, {}), Usage(1.0, 1.0, 0, 0))
