"""Which mode a VNF moves in, why none is left, and what a model charges for each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from twin.errors import ScenarioError
from twin.fast import BatchSim
from twin.migration_cost import PRIORS, MigrationCost
from twin.move_modes import Ability, MoveMode, choose_mode, expected_mode, move_costs
from twin.resources import scenario_path
from twin.scenario import Scenario, VnfType
from twin.scenario_file import dump_scenario, load_scenario, parse_scenario
from twin.simulator import TwinWorld

SMALL = load_scenario("small")
TEXT = scenario_path("small").read_text()
NEITHER = Ability(hand_over="too old", checkpoint="criu is not installed")


def _type(function: str = "nat", **more: object) -> VnfType:
    return replace(VnfType(function, 0.0, 0.0, 16.0, 1.0, 0.1, function), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "able", "mode"),
    [
        (_type("firewall"), NEITHER, MoveMode.STATELESS),
        (_type("firewall", config={"track": True}), Ability(), MoveMode.HAND_OVER),
        (_type("firewall", config={"track": "off"}), NEITHER, MoveMode.STATELESS),
        (_type("firewall", image="mine"), Ability(hand_over="opaque"), MoveMode.CHECKPOINT),
        (_type("firewall", image="mine", stateless=True), NEITHER, MoveMode.STATELESS),
        (_type(), Ability(), MoveMode.HAND_OVER),
        (_type(), Ability(hand_over="too old"), MoveMode.CHECKPOINT),
        (_type(), NEITHER, None),
        (_type(allow_cold=True), NEITHER, MoveMode.COLD),
        (_type(allow_cold=True), Ability(), MoveMode.HAND_OVER),
        (_type(move="cold", allow_cold=True), Ability(), MoveMode.COLD),
        (_type(move="checkpoint"), Ability(checkpoint="no"), None),
        (_type("firewall", move="checkpoint"), Ability(), MoveMode.CHECKPOINT),
    ],
)
def test_the_cheapest_possible_mode_is_taken_and_what_is_asked_for_is_not_replaced(
    kind: VnfType, able: Ability, mode: MoveMode | None
) -> None:
    assert choose_mode(kind, able).mode == mode


def test_no_mode_says_why_of_each() -> None:
    reason = choose_mode(_type(image="mine"), NEITHER).reason
    assert reason == (
        "stateless: it keeps state; hand_over: too old; checkpoint: criu is not installed; "
        "cold: its state would be lost, and 'allow_cold' is not set"
    )


def test_a_model_reckons_with_hand_over_for_our_own_functions_and_a_checkpoint_for_images() -> None:
    assert expected_mode(_type()) is MoveMode.HAND_OVER
    assert expected_mode(_type(image="mine")) is MoveMode.CHECKPOINT
    assert expected_mode(_type(image="mine", move="hand_over")) is MoveMode.COLD


def _text(of: str, instead: str) -> str:
    assert of in TEXT
    return TEXT.replace(of, instead, 1)


def test_the_keys_are_read_and_written_back() -> None:
    text = _text("memory_mb: 24, state_mb: 4,", "memory_mb: 24, state_mb: 4, move: cold, allow_cold: true, image: x,")
    text = text.replace("service_ms: 0.10}", "service_ms: 0.10, stateless: true, image: y}", 1)
    text += "\nmigration:\n  hand_over: {duration_s: 0.7, silence_ms: 4}\n"
    scenario = parse_scenario(text, "x.yaml")
    types = {v.type.name: v.type for v in scenario.vnfs}
    assert (types["nat"].move, types["nat"].allow_cold, types["monitor"].stateless) == ("cold", True, True)
    assert scenario.migration == {"hand_over": MigrationCost(duration_s=0.7, silence_ms=4.0)}
    assert parse_scenario(dump_scenario(scenario), "x.yaml") == scenario


@pytest.mark.parametrize(
    ("key", "word"),
    [
        ("move: stateless", "keeps state"),
        ("move: cold", "allow_cold: true"),
        ("stateless: true", "not true of nat"),
        ("move: warm", "must be one of auto"),
        ("allow_cold: yes", "must be one of true, false"),
    ],
)
def test_a_contradiction_is_told_with_its_line(key: str, word: str) -> None:
    with pytest.raises(ScenarioError, match=word) as error:
        parse_scenario(_text("memory_mb: 24,", f"memory_mb: 24, {key},"), "x.yaml")
    assert [p.line for p in error.value.problems] == [32]


def test_a_wrong_cost_is_told() -> None:
    for wrong in ("{warm: {}}", "{cold: {transfer_mbps: 0}}", "{cold: {silence_ms: -1}}", "{cold: {cost: 1}}"):
        with pytest.raises(ScenarioError, match="migration"):
            parse_scenario(f"{TEXT}\nmigration: {wrong}\n", "x.yaml")


def test_shipped_scenarios_are_charged_what_they_always_were() -> None:
    assert set(move_costs(SMALL)) == {MigrationCost()}
    assert PRIORS["stateless"] == PRIORS["hand_over"] == MigrationCost()


def _dear() -> Scenario:
    """NATs cost what a checkpoint costs, everything else what it always did."""
    nat = replace(next(v.type for v in SMALL.vnfs if v.type.name == "nat"), move="checkpoint")
    chains = tuple(
        replace(c, vnfs=tuple(replace(v, type=nat) if v.type.name == "nat" else v for v in c.vnfs))
        for c in SMALL.chains
    )
    return replace(SMALL, chains=chains, migration={"checkpoint": MigrationCost(duration_s=2.5, silence_ms=900.0)})


@pytest.mark.parametrize(("vnf", "dearer"), [("web1.nat", True), ("web1.firewall", False)])
def test_both_simulators_charge_a_vnf_by_its_mode(vnf: str, dearer: bool) -> None:
    costs = []
    for scenario in (SMALL, _dear()):
        world = TwinWorld(scenario, seed=3)
        target = next(s.id for s in scenario.servers if s.id != scenario.placement[vnf])
        world.execute(vnf, target)
        world.observe(scenario.period_s)
        action = 1 + scenario.vnf_index[vnf] * len(scenario.servers) + scenario.server_index[target]
        sim = BatchSim(scenario, 1, 3, randomise=False, features=False)
        sim.reset()
        info = sim.step(np.array([action]))[3]
        slot = world.slots[0]
        assert (slot.delay_ms, slot.energy_j) == pytest.approx((info["delay_ms"][0], info["energy_j"][0]))
        costs.append((slot.delay_ms, slot.energy_j))
    assert (costs[1] != costs[0]) == dearer
