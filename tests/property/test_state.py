"""What must hold of `StateBuilder` for any stream of samples."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.samples import Quantity, Sample
from twin.scenario_file import load_scenario
from twin.state import StateBuilder

SMALL = load_scenario("small")
SUBJECTS = [
    *(server.id for server in SMALL.servers),
    *(vnf.id for vnf in SMALL.vnfs),
    *(link.id for link in SMALL.links),
    *(endpoint.id for endpoint in SMALL.endpoints),
    *(chain.id for chain in SMALL.chains),
    "nobody",
]
samples = st.builds(
    Sample,
    at_s=st.floats(0, 100),
    subject=st.sampled_from(SUBJECTS),
    quantity=st.sampled_from(Quantity),
    value=st.one_of(st.floats(0, 1000), st.floats(-5, 10), st.just(float("nan"))),
)


@given(st.lists(samples, max_size=60))
@settings(max_examples=200, deadline=None)
def test_order_of_arrival_does_not_matter_where_times_differ(stream: list[Sample]) -> None:
    unique = list({(s.subject, s.quantity, s.at_s): s for s in stream}.values())
    shuffled = sorted(unique, key=lambda s: (s.value if s.value == s.value else -1.0, s.at_s))
    one, two = StateBuilder(SMALL), StateBuilder(SMALL)
    one.add(unique)
    two.add(shuffled)
    first, second = one.build(101.0), two.build(101.0)
    np.testing.assert_array_equal(first.server_cpu, second.server_cpu)
    np.testing.assert_array_equal(first.vnf_server, second.vnf_server)
    np.testing.assert_array_equal(first.offered_mbps, second.offered_mbps)
    for quantity in Quantity:
        np.testing.assert_array_equal(first.age_s[quantity], second.age_s[quantity])


@given(st.lists(samples, max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_stream_gives_a_whole_state(stream: list[Sample]) -> None:
    builder = StateBuilder(SMALL)
    builder.add(stream)
    state = builder.build(101.0)
    assert set(state.placement.hosts) == {vnf.id for vnf in SMALL.vnfs}
    assert state.hosting.sum() == len(set(state.placement.hosts.values()))
    assert ((state.endpoint_switch >= 0) & (state.endpoint_switch < len(SMALL.switches))).all()
    for name in ("server_cpu", "server_power_w", "link_load_mbps", "offered_mbps", "chain_delay_ms"):
        assert np.isfinite(getattr(state, name)).all()
    used = sum(np.isfinite(age).sum() for age in state.age_s.values())
    assert used <= len(stream) - builder.ignored
