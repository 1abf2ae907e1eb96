"""Modelled energy by hand calculation, and RAPL over a tree of files as the kernel lays it out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from controller.energy import EnergyMeter, RaplMeter
from twin.samples import Quantity, Sample
from twin.scenario import PowerModel
from twin.scenario_file import load_scenario

POWER = PowerModel(sleep_w=10, idle_w=90, peak_w=150, wake_s=1, wake_j=150, sleep_after_s=8)
SMALL = load_scenario("small")
SCENARIO = replace(SMALL, servers=(replace(SMALL.servers[0], id="e1", cpu_cores=2.0, power=POWER),))


def values(samples: list[Sample]) -> dict[Quantity, float]:
    return {sample.quantity: sample.value for sample in samples}


def test_power_follows_utilisation() -> None:
    meter = EnergyMeter(SCENARIO)
    assert values(meter.update(0.0, {"e1"}, {"e1": 1.0})) == {
        Quantity.SERVER_POWER: pytest.approx(120.0), Quantity.SERVER_AWAKE: 1.0
    }  # fmt: skip
    assert values(meter.update(1.0, {"e1"}, {"e1": 5.0}))[Quantity.SERVER_POWER] == pytest.approx(150.0)


def test_a_cpu_reading_stands_for_the_time_before_it() -> None:
    meter = EnergyMeter(SCENARIO)
    meter.update(0.0, {"e1"}, {"e1": 0.0})
    meter.update(2.5, {"e1"}, {"e1": 1.0})
    meter.update(3.0, {"e1"}, {"e1": 2.0})
    meter.update(7.0, {"e1"}, {})  # no reading: the last one holds
    assert meter.total_j == pytest.approx(2.5 * 120 + 0.5 * 150 + 4 * 150)
    assert meter.readings()[0].origin == "modelled"
    assert meter.readings()[0].energy_j == pytest.approx(meter.total_j)


def test_a_server_without_a_vnf_sleeps_after_the_hold_time_to_the_second() -> None:
    """Idle from 4 s on, asleep from 12 s on, though nobody looked between 5 s and 20 s."""
    meter = EnergyMeter(SCENARIO)
    meter.update(0.0, {"e1"}, {"e1": 0.0})
    assert values(meter.update(4.0, set(), {"e1": 0.0}))[Quantity.SERVER_AWAKE] == 1.0
    meter.update(5.0, set(), {})
    assert values(meter.update(20.0, set(), {})) == {Quantity.SERVER_POWER: 10.0, Quantity.SERVER_AWAKE: 0.0}
    assert meter.total_j == pytest.approx(12 * 90 + 8 * 10)


def test_a_vnf_that_returns_in_time_keeps_it_awake() -> None:
    meter = EnergyMeter(SCENARIO)
    meter.update(0.0, {"e1"}, {})
    meter.update(4.0, set(), {})
    meter.update(11.0, {"e1"}, {})
    meter.update(13.0, set(), {})
    assert values(meter.update(20.9, set(), {}))[Quantity.SERVER_AWAKE] == 1.0
    assert values(meter.update(21.1, set(), {}))[Quantity.SERVER_AWAKE] == 0.0
    assert meter.wakes("e1") == 0


def test_waking_costs_its_energy_once() -> None:
    meter = EnergyMeter(SCENARIO)
    meter.update(0.0, set(), {})
    assert values(meter.update(10.0, {"e1"}, {}))[Quantity.SERVER_AWAKE] == 1.0
    meter.update(12.0, {"e1"}, {})
    assert meter.total_j == pytest.approx(10 * 10 + 150 + 2 * 90)
    assert meter.wakes("e1") == 1


def test_however_often_one_looks_the_energy_is_the_same() -> None:
    """Awake with half its CPU until 5 s, then empty; asleep from 13 s; woken at 30 s."""
    totals = []
    for step_s in (0.5, 2.5, 5.0):
        meter, now_s = EnergyMeter(SCENARIO), 0.0
        while now_s <= 40.0:
            hosting = {"e1"} if now_s < 5.0 or now_s >= 30.0 else set[str]()
            meter.update(now_s, hosting, {"e1": 1.0})
            now_s += step_s
        totals.append(meter.total_j)
    assert totals == [pytest.approx(13 * 120 + 17 * 10 + 150 + 10 * 120)] * 3


def test_time_that_runs_backwards_changes_nothing() -> None:
    meter = EnergyMeter(SCENARIO)
    meter.update(5.0, {"e1"}, {})
    meter.update(6.0, {"e1"}, {})
    before = meter.total_j
    assert {s.at_s for s in meter.update(3.0, set(), {"e1": 2.0})} == {6.0}
    assert meter.total_j == before


def test_every_server_of_a_scenario_has_its_samples() -> None:
    samples = EnergyMeter(SMALL).update(0.0, {"e1", "c1"}, {})
    power = {s.subject: s.value for s in samples if s.quantity == Quantity.SERVER_POWER}
    assert power == {"e1": 90.0, "e2": 10.0, "e3": 10.0, "e4": 10.0, "c1": 120.0, "c2": 10.0}


class TestRapl:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        """Two packages; the cores of one, psys, the same package again by MMIO, and the driver's own folder."""
        self.zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
        self.zone(tmp_path, "intel-rapl:1", "package-1", 5_000_000)
        self.zone(tmp_path, "intel-rapl:0:0", "core", 700_000)
        self.zone(tmp_path, "intel-rapl:2", "psys", 9_000_000)
        self.zone(tmp_path, "intel-rapl-mmio:0", "package-0", 1_000_000)
        (tmp_path / "intel-rapl").mkdir()
        return tmp_path

    @staticmethod
    def zone(root: Path, folder: str, name: str, energy_uj: int) -> None:
        (root / folder).mkdir(exist_ok=True)
        (root / folder / "name").write_text(f"{name}\n")
        (root / folder / "max_energy_range_uj").write_text("10000000\n")
        (root / folder / "energy_uj").write_text(f"{energy_uj}\n")

    @staticmethod
    def use(root: Path, *, first_uj: int, second_uj: int) -> None:
        (root / "intel-rapl:0" / "energy_uj").write_text(f"{first_uj}\n")
        (root / "intel-rapl:1" / "energy_uj").write_text(f"{second_uj}\n")
        for other in ("intel-rapl:0:0", "intel-rapl:2", "intel-rapl-mmio:0"):
            (root / other / "energy_uj").write_text("9999999\n")

    def test_packages_are_summed_and_nothing_twice(self, root: Path) -> None:
        meter = RaplMeter(root)
        assert meter.available
        first = meter.read(100.0)
        assert first is not None
        assert (first.energy_j, first.origin) == (0.0, "measured")
        self.use(root, first_uj=3_000_000, second_uj=6_000_000)
        second = meter.read(102.0)
        assert second is not None
        assert second.subject == "host"
        assert second.energy_j == pytest.approx(3.0)
        assert second.power_w == pytest.approx(1.5)

    def test_a_counter_that_wraps_goes_on(self, root: Path) -> None:
        meter = RaplMeter(root)
        meter.read(100.0)
        self.use(root, first_uj=500_000, second_uj=5_000_000)
        reading = meter.read(101.0)
        assert reading is not None
        assert reading.energy_j == pytest.approx(9.5)

    def test_two_readings_at_one_time_lose_no_energy(self, root: Path) -> None:
        meter = RaplMeter(root)
        meter.read(100.0)
        self.use(root, first_uj=2_000_000, second_uj=5_000_000)
        meter.read(100.0)
        reading = meter.read(101.0)
        assert reading is not None
        assert reading.energy_j == pytest.approx(1.0)

    def test_a_host_without_it_has_no_reading(self, tmp_path: Path) -> None:
        meter = RaplMeter(tmp_path / "powercap")
        assert not meter.available
        assert meter.read(1.0) is None

    def test_a_meter_that_is_withdrawn_ends(self, root: Path) -> None:
        meter = RaplMeter(root)
        meter.read(100.0)
        for name in ("intel-rapl:0", "intel-rapl:1"):
            (root / name / "energy_uj").write_text("?")
        assert meter.read(101.0) is None
        assert not meter.available
