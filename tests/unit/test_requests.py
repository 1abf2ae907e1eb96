"""Requests for moves over REST, against the real application, loop, verdict and migrations: each refusal by its name.

Whatever is refused leaves everything as it was.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from webob import Request

from agent.baselines import StayPolicy
from agent.decision import MigrationDecision, Move, Prediction, Stay, View
from controller.records import Mode
from controller.rest import RestApplication
from tests.fakes.service import Control
from twin.move_limits import MoveLimits
from twin.scenario import Scenario
from twin.scenario_file import load_scenario

SMALL = load_scenario("small")


class Client:
    """Speaks WSGI to the application, as its server does."""

    def __init__(self, control: Control) -> None:
        self.control, self._application = control, RestApplication(control.descriptions)

    def move(self, vnf: str, target: str, key: str | None = None) -> tuple[int, Any]:
        body = {"vnf": vnf, "target": target} | ({"idempotency_key": key} if key else {})
        request = Request.blank("/api/v1/migrations", method="POST", json=body, content_type="application/json")
        response = request.get_response(self._application)
        return response.status_code, response.json

    def refused(self, vnf: str, target: str, key: str | None = None) -> tuple[int, str]:
        """Status and reason (or error) of a request that is to change nothing at all."""
        before = _all(self.control)
        status, body = self.move(vnf, target, key)
        assert _all(self.control) == before
        return status, body.get("reason", body["error"])

    def get(self, what: str) -> Any:
        return Request.blank(f"/api/v1/{what}").get_response(self._application).json

    def refusals(self) -> Mapping[str, float]:
        text = Request.blank("/metrics").get_response(self._application).text
        (family,) = [f for f in text_string_to_metric_families(text) if f.name == "vnftwin_refusals"]
        return {s.labels["reason"]: s.value for s in family.samples if s.value}


def _all(control: Control) -> object:
    site = control.service.site
    return (
        [record.as_json() for record in control.records],
        dict(site.keeper.server_of),
        dict(site.keeper.active),
        set(site.migrations.busy),
        frozenset(site.fabric.rules),
        dict(site.instances.running),
        len(control.service.begun),
        site.journal.writes,
    )


def _client(scenario: Scenario = SMALL) -> Client:
    return Client(Control(scenario, StayPolicy(), mode=Mode.MANUAL))


def _with_servers(**changes: Any) -> Scenario:
    """`small` with e4 changed: a server that hosts VNFs of other chains than web1."""
    servers = tuple(replace(s, **changes) if s.id == "e4" else s for s in SMALL.servers)
    return replace(SMALL, servers=servers)


def _limited(**limits: Any) -> Scenario:
    return replace(SMALL, limits=replace(MoveLimits(), **limits))


def test_the_same_key_gives_the_same_migration_also_after_it_ended() -> None:
    client = _client()
    status, first = client.move("web1.nat", "e2", "k")
    assert (status, first["status"]) == (202, "pending")
    assert client.move("web1.nat", "e2", "k") == (202, first)
    client.control.service.end_move()
    status, again = client.move("web1.nat", "e2", "k")
    assert (status, again["id"], again["status"]) == (202, first["id"], "done")
    assert len(client.get("migrations")) == 1
    assert not client.control.service.begun


def test_the_same_key_gives_the_same_migration_after_a_restart_of_the_controller() -> None:
    client = _client()
    _, first = client.move("web1.nat", "e2", "k")
    client.control.service.end_move()
    site = client.control.service.site
    site.restart()
    client.control.service.keeper, client.control.service.migrations = site.keeper, site.migrations
    assert client.move("web1.nat", "e2", "k")[1]["id"] == first["id"]
    assert client.refused("web1.nat", "e3", "k") == (409, "key_reused")


@pytest.mark.parametrize(("vnf", "target"), [("web1.nat", "e3"), ("web2.firewall", "e2")])
@pytest.mark.parametrize("ended", [False, True])
def test_a_key_of_another_migration_is_refused(vnf: str, target: str, ended: bool) -> None:
    client = _client()
    client.move("web1.nat", "e2", "k")
    if ended:
        client.control.service.end_move()
    assert client.refused(vnf, target, "k") == (409, "key_reused")
    assert client.refusals() == {"key_reused": 1}


def test_a_refused_request_does_not_use_its_key_up() -> None:
    client = _client()
    assert client.refused("web1.nat", "c1", "k") == (409, "same_server")
    assert client.move("web1.nat", "e2", "k")[0] == 202


def test_what_does_not_exist_is_not_found() -> None:
    client = _client()
    assert client.refused("web9.nat", "e2") == (404, "unknown VNF web9.nat")
    assert client.refused("web1.nat", "e9") == (404, "unknown server e9")
    client.move("web1.nat", "e2", "k")
    assert client.refused("web1.nat", "e9", "k") == (404, "unknown server e9")


def test_where_it_is_already_it_is_not_moved() -> None:
    client = _client()
    assert client.refused("web1.nat", "c1") == (409, "same_server")
    client.move("web1.nat", "e2")
    client.control.service.end_move()
    # no poll has come since: where it is now is known all the same
    assert client.refused("web1.nat", "e2") == (409, "same_server")


def test_a_full_server_says_what_it_lacks() -> None:
    assert _client(_with_servers(memory_mb=65.0)).refused("web1.nat", "e4") == (409, "memory_full")
    assert _client(_with_servers(cpu_cores=0.02)).refused("web1.nat", "e4") == (409, "cpu_full")


def test_a_server_that_is_down_takes_nothing() -> None:
    client = _client()
    client.control.service.world.set_server("e2", up=False)
    client.control.service.next_period()
    assert client.refused("web1.nat", "e2") == (409, "server_down")


def test_a_chain_in_flight_is_left_alone() -> None:
    client = _client()
    client.move("web1.nat", "e2")
    for vnf, target in (("web1.nat", "e2"), ("web1.nat", "e3"), ("web1.firewall", "e1")):
        assert client.refused(vnf, target) == (409, "in_flight")
    assert client.refusals() == {"in_flight": 3}
    assert client.move("web2.firewall", "e2")[0] == 202  # another chain may


def test_as_many_moves_as_may_go_on_side_by_side() -> None:
    client = _client(_limited(max_parallel=1))
    client.move("web1.nat", "e2")
    assert client.refused("web2.firewall", "e2") == (409, "max_parallel")
    client.control.service.end_move()
    assert client.move("web2.firewall", "e2")[0] == 202


def test_two_moves_do_not_count_on_the_same_room() -> None:
    mine, other = (SMALL.vnf(v).type.memory_mb for v in ("web1.nat", "video.monitor"))
    hosted = sum(v.type.memory_mb for v in SMALL.vnfs if SMALL.placement[v.id] == "e4")
    client = _client(_with_servers(memory_mb=hosted + mine + other - 1.0))
    client.move("web1.nat", "e4")
    assert client.refused("video.monitor", "e4") == (409, "memory_full")
    alone = _client(_with_servers(memory_mb=hosted + mine + other - 1.0))
    assert alone.move("video.monitor", "e4")[0] == 202


def test_before_it_is_ready_nothing_is_moved() -> None:
    client = _client()
    client.control.service.lack = "switches core1"
    assert client.refused("web1.nat", "e2") == (409, "not_ready")


def test_a_person_is_not_held_to_what_a_policy_is() -> None:
    tight = _limited(cooldown_s=1e6, moves_per_minute=1, moves_per_server_minute=1, min_gain=1.0, failed_rest_s=1e6)
    client = _client(tight)
    client.control.service.site.instances.dead_servers.add("e3")
    for target, status in (("e2", "done"), ("e3", "rolled_back"), ("e1", "done")):
        assert client.move("web1.nat", target)[0] == 202
        client.control.service.end_move()
        assert client.control.records[-1].status == status


class Wants(StayPolicy):
    """Wants one move wherever it is not masked, like a policy that has only this in mind."""

    name = "wants"

    def __init__(self, vnf: str, target: str) -> None:
        self.vnf, self.target = vnf, target

    def decide(self, view: View) -> MigrationDecision:
        if not view.mask[view.scenario.vnf_index[self.vnf], view.scenario.server_index[self.target]]:
            return Stay("masked")
        return Move(self.vnf, self.target, "it wants to", Prediction(1.0, 1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_parallel": 1}, "max_parallel"),
        ({"cooldown_s": 1e6}, "cooldown"),
        ({"failed_rest_s": 1e6}, "failed_rest"),
        ({"moves_per_server_minute": 1}, "moves_per_server_minute"),
        ({"moves_per_minute": 1}, "moves_per_minute"),
        ({"min_gain": 1.0}, "min_gain"),
        ({"min_gain_again": 1.0}, "min_gain_again"),
    ],
)
def test_every_restraint_is_named_in_decisions_log_and_metrics(
    limits: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    loose = MoveLimits(0.0, 1000, 1000, 126, -1.0, -1.0, 0.0)
    control = Control(replace(SMALL, limits=replace(loose, **limits)), Wants("web1.nat", "e2"))
    client = Client(control)
    site = control.service.site
    if reason == "max_parallel":
        client.move("video.monitor", "e4")  # stays under way
    elif reason == "failed_rest":
        site.instances.dead_servers.add("e2")
        client.move("web1.nat", "e2")
        control.service.end_move()
    else:
        for target in ("e2", "c1"):
            client.move("web1.nat", target)
            control.service.end_move()
    began = len(control.records)
    with caplog.at_level(logging.INFO, logger="vnftwin.loop"):
        for _ in range(3):
            control.loop.tick()
    decision = client.get("decisions")[-1]
    assert (decision["decision"], decision["allowed"], decision["reason"]) == ("move", False, reason)
    assert client.refusals() == {reason: 3}
    told = [record.getMessage() for record in caplog.records if record.name == "vnftwin.loop"]
    assert told == [f"move of web1.nat to e2 refused: {reason}"]
    assert len(control.records) == began


def test_a_failed_servers_vnfs_may_leave_at_once() -> None:
    tight = _limited(cooldown_s=1e6, moves_per_minute=1, moves_per_server_minute=1, max_parallel=1, min_gain=1.0)
    control = Control(tight, Wants("web1.nat", "e2"))
    client = Client(control)
    client.move("video.monitor", "e4")  # uses everything up
    control.loop.tick()
    assert [r.vnf for r in control.records] == ["video.monitor"]
    control.service.world.set_server("c1", up=False)
    control.service.next_period()
    control.loop.tick()
    assert [r.vnf for r in control.records] == ["video.monitor", "web1.nat"]


def _refuge(scenario: Scenario) -> str:
    """Where web1.nat is started again when c1, where it was, starts nothing any more."""
    service = _client(scenario).control.service
    service.site.instances.dead_servers.add("c1")
    record = service.migrations.request("web1.nat", "c1", reason="its instance died", predicted=None)
    service.migrations.run(record)
    service.watch.migrations, service.watch.keeper = service.migrations, service.keeper
    service.watch._replace({"web1.nat": service.keeper.active["web1.nat"]}, silent=())
    service.end_move()
    assert service.migrations.records["m2"].status == "done"
    return service.keeper.server_of["web1.nat"]


def test_a_dead_vnf_is_replaced_where_it_is_feasible_and_held_back_by_nothing_else() -> None:
    tight = _limited(cooldown_s=1e6, moves_per_minute=1, moves_per_server_minute=1, max_parallel=1, failed_rest_s=1e6)
    best = _refuge(tight)
    full = tuple(replace(s, memory_mb=1.0 + _hosted_mb(s.id)) if s.id == best else s for s in SMALL.servers)
    assert _refuge(replace(tight, servers=full)) not in (best, "c1")


def _hosted_mb(server: str) -> float:
    return sum(v.type.memory_mb for v in SMALL.vnfs if SMALL.placement[v.id] == server)
