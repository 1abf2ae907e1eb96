"""Probes during a move, of whichever VNF of a chain: at every moment they pass all VNFs and come back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.flow_rule import PORT_CONTROLLER, PushTag
from controller.rules import PROBE_DSCP, probe_actions
from controller.steering import Attachment
from tests.fakes.fabric import forward_packet
from tests.fakes.site import FakeSite
from tests.unit.test_reboot_in_move import Moments
from twin.scenario_file import load_scenario

SMALL = load_scenario("small")
CHAIN = SMALL.chain("web1")


def probe_comes_back(site: FakeSite) -> bool:
    """One that is sent now, as telemetry would send it."""
    steering = site.keeper.entered[CHAIN.id]
    push = probe_actions(steering)[0]
    assert isinstance(push, PushTag)
    at = Attachment(steering.stops[0].switch, PORT_CONTROLLER)
    arrival = site.fabric.deliver(replace(forward_packet(CHAIN.flow, at, dscp=PROBE_DSCP), vlan=push.vlan_id))
    return arrival.kind == "controller" and arrival.packet.visited == tuple(vnf.id for vnf in CHAIN.vnfs)


@pytest.mark.parametrize("stateful", [False, True])
@pytest.mark.parametrize("vnf", [vnf.id for vnf in CHAIN.vnfs])
def test_no_probe_is_lost_whenever_in_a_move_it_is_sent(vnf: str, stateful: bool) -> None:
    site = FakeSite(SMALL, stateful=stateful)
    moments, targets = Moments(site), ("e1", "c1")
    back: list[bool] = []
    assert site.move(vnf, targets[site.keeper.server_of[vnf] == targets[0]]) == "done"
    for number in range(1, moments.written + 1):
        back.clear()
        moments.arm(number, lambda: back.append(probe_comes_back(site)))
        assert site.move(vnf, targets[site.keeper.server_of[vnf] == targets[0]]) == "done"
        assert back == [True], f"after write {number}"
