"""`StateBuilder`: the newest sample counts, what was never read is told by its age."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.small_worlds import line
from twin.samples import Quantity, Sample
from twin.simulator import TwinWorld
from twin.state import StateBuilder


def test_before_any_sample_the_state_is_the_scenarios() -> None:
    state = StateBuilder(line()).build(3.0)
    assert dict(state.placement.hosts) == {"one.firewall": "s1", "one.nat": "s2", "two.firewall": "s2"}
    np.testing.assert_array_equal(state.offered_mbps, [4.0, 2.0])
    np.testing.assert_array_equal(state.link_delay_ms, [2.0, 3.0])
    np.testing.assert_array_equal(state.hosting, [True, True, False])
    assert all(np.isinf(age).all() for age in state.age_s.values())


def test_the_newest_sample_wins_whatever_the_order() -> None:
    builder = StateBuilder(line())
    builder.add([Sample(5.0, "one", Quantity.CHAIN_OFFERED, 7.0), Sample(4.0, "one", Quantity.CHAIN_OFFERED, 1.0)])
    state = builder.build(6.0)
    assert state.offered_mbps[0] == 7.0
    np.testing.assert_array_equal(state.age_s[Quantity.CHAIN_OFFERED], [1.0, np.inf])
    np.testing.assert_array_equal(state.stale(Quantity.CHAIN_OFFERED, limit_s=2.0), [False, True])


@pytest.mark.parametrize(
    "sample",
    [
        Sample(1.0, "nobody", Quantity.SERVER_CPU, 1.0),
        Sample(1.0, "s1", Quantity.SERVER_CPU, float("nan")),
        Sample(1.0, "s1", Quantity.SERVER_CPU, float("inf")),
        Sample(1.0, "one.nat", Quantity.VNF_HOST, 3.0),
        Sample(1.0, "one.nat", Quantity.VNF_HOST, -1.0),
        Sample(1.0, "u", Quantity.ENDPOINT_SWITCH, 3.0),
    ],
)
def test_what_makes_no_sense_is_counted_and_changes_nothing(sample: Sample) -> None:
    builder = StateBuilder(line())
    builder.add([sample])
    assert builder.ignored == 1
    state, fresh = builder.build(2.0), StateBuilder(line()).build(2.0)
    np.testing.assert_array_equal(state.vnf_server, fresh.vnf_server)
    np.testing.assert_array_equal(state.server_cpu, fresh.server_cpu)
    np.testing.assert_array_equal(state.endpoint_switch, fresh.endpoint_switch)


def test_utilisations_are_shares_and_components_fit_together() -> None:
    builder = StateBuilder(line())
    builder.add(
        [
            Sample(1.0, "s2", Quantity.SERVER_CPU, 0.6),
            Sample(1.0, "s2", Quantity.SERVER_MEMORY, 150.0),
            Sample(1.0, "one.firewall", Quantity.VNF_HOST, 1.0),
            Sample(1.0, "a-b", Quantity.LINK_LOAD_FORWARD, 4.0),
            Sample(1.0, "a-b", Quantity.LINK_LOAD_BACKWARD, 2.0),
        ]
    )
    state = builder.build(1.0)
    assert state.server_cpu[1] == pytest.approx(0.3)
    assert state.server_memory[1] == pytest.approx(0.75)
    assert state.placement["one.firewall"] == "s2"
    np.testing.assert_array_equal(state.hosting, [False, True, False])
    np.testing.assert_allclose(state.server_delay_ms, [0.0, 4 / 3 / 0.7, 0.0])
    np.testing.assert_array_equal(state.link_load_mbps[0], [4.0, 2.0])


def test_a_state_built_is_not_changed_by_later_samples() -> None:
    builder = StateBuilder(line())
    state = builder.build(0.0)
    builder.add([Sample(1.0, "one", Quantity.CHAIN_OFFERED, 9.0)])
    assert state.offered_mbps[0] == 4.0
    assert builder.build(1.0).offered_mbps[0] == 9.0


def test_a_replay_builds_the_same_state_bit_for_bit() -> None:
    samples = TwinWorld(line(), seed=8).observe(40.0)
    live, replayed = StateBuilder(line()), StateBuilder(line())
    for sample in samples:
        live.add([sample])
    replayed.add(samples)
    one, two = live.build(41.0), replayed.build(41.0)
    for name in ("server_cpu", "server_power_w", "offered_mbps", "chain_delay_ms", "link_load_mbps", "server_delay_ms"):
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes()
