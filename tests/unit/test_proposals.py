"""Mode *advise* over the real application, loop and migrations: proposed, accepted, dismissed, withdrawn."""

from __future__ import annotations

import json
from typing import Any

import pytest
from webob import Request

from agent.decision import MigrationDecision, Move, Prediction, Stay, View
from controller.records import Mode
from controller.rest import RestApplication
from controller.tick import Decider
from controller.would_have import WouldHave
from tests.fakes.service import Control
from twin.feasibility import Limits
from twin.forecast import PersistenceForecaster
from twin.scenario_file import load_scenario

SMALL = load_scenario("small")
GAIN = Prediction(20.0, 18.0, 500.0, 480.0)


class Wants:
    """A policy that wants the first of its moves that may be made."""

    name = "wants"

    def __init__(self, *moves: tuple[str, str]) -> None:
        self.moves = list(moves)

    def decide(self, view: View) -> MigrationDecision:
        for vnf, server in self.moves:
            free = view.mask[view.scenario.vnf_index[vnf], view.scenario.server_index[server]]
            if free and view.state.placement[vnf] != server:
                return Move(vnf, server, "because", GAIN)
        return Stay("nothing wanted")


class Advised:
    """A controller that advises, and a person who answers over REST."""

    def __init__(self, *moves: tuple[str, str]) -> None:
        self.policy = Wants(*moves)
        self.control = Control(SMALL, self.policy, mode=Mode.ADVISE)
        decider = Decider(SMALL, self.policy, PersistenceForecaster(), limits=Limits(), clock=lambda: 0.0)
        self.control.loop.would_have = WouldHave(SMALL, decider)
        self._application = RestApplication(self.control.descriptions)

    def tick(self, periods: int = 1) -> None:
        for _ in range(periods):
            self.control.service.next_period()
            self.control.loop.tick()

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        content = b"" if body is None else json.dumps(body).encode()
        request = Request.blank(f"/api/v1/{path}", method=method, body=content, content_type="application/json")
        response = request.get_response(self._application)
        return response.status_code, response.json

    @property
    def proposals(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.ask("GET", "proposals")[1]
        return rows


def test_nothing_moves_before_a_person_accepts() -> None:
    site = Advised(("web1.nat", "e2"))
    site.tick(3)
    (proposal,) = site.proposals
    shown = [proposal[key] for key in ("status", "vnf", "source", "target")]
    assert shown == ["open", "web1.nat", "c1", "e2"]
    assert not site.control.records
    status, migration = site.ask("POST", f"proposals/{proposal['id']}/accept")
    assert (status, migration["vnf"], migration["target"]) == (202, "web1.nat", "e2")
    site.control.service.end_move()
    assert site.control.service.keeper.server_of["web1.nat"] == "e2"
    assert [(p["status"], p["migration"]) for p in site.proposals] == [("accepted", migration["id"])]


def test_waiting_is_counted_as_what_it_would_have_won() -> None:
    site = Advised(("web1.nat", "e2"))
    site.tick(4)
    (proposal,) = site.proposals
    waited_s = 3 * SMALL.period_s
    assert proposal["missed_ms_s"] == pytest.approx(2.0 * waited_s)
    assert proposal["missed_j"] == pytest.approx(20.0 * waited_s)


def test_a_dismissed_move_is_not_proposed_again_but_the_next_best_is() -> None:
    site = Advised(("web1.nat", "e2"), ("web2.monitor", "e2"))
    site.tick()
    assert site.ask("POST", "proposals/p1/dismiss")[1]["status"] == "dismissed"
    site.tick(2)
    assert [(p["vnf"], p["status"]) for p in site.proposals] == [("web1.nat", "dismissed"), ("web2.monitor", "open")]


def test_a_proposal_is_withdrawn_when_the_policy_wants_something_else_or_the_mode_changes() -> None:
    site = Advised(("web1.nat", "e2"))
    site.tick()
    site.policy.moves = [("web2.monitor", "e2")]
    site.tick()
    assert [p["status"] for p in site.proposals] == ["withdrawn", "open"]
    site.ask("PUT", "mode", {"mode": "manual"})
    assert [p["status"] for p in site.proposals] == ["withdrawn", "withdrawn"]
    status, said = site.ask("POST", "proposals/p2/accept")
    assert (status, said["reason"], said["detail"]) == (409, "closed", "p2 is withdrawn")
    assert not site.control.records


def test_an_unknown_proposal_is_not_found_and_an_answered_one_is_refused() -> None:
    site = Advised(("web1.nat", "e2"))
    site.tick()
    assert site.ask("POST", "proposals/p9/accept")[0] == 404
    assert site.ask("POST", "proposals/p1/accept")[0] == 202
    for answer in ("accept", "dismiss"):
        assert site.ask("POST", f"proposals/p1/{answer}")[0] == 409


def test_what_has_become_infeasible_is_refused_and_stays_open() -> None:
    site = Advised(("web1.nat", "e2"))
    site.tick()
    site.control.service.world.set_server("e2", up=False)
    site.control.service.next_period()
    status, said = site.ask("POST", "proposals/p1/accept")
    assert (status, said["reason"]) == (409, "server_down")
    assert site.proposals[0]["status"] == "open"


def test_the_dry_run_beside_goes_on_where_the_network_waits() -> None:
    site = Advised(("web1.nat", "e2"), ("web2.monitor", "e2"))
    for _ in range(4):
        site.tick()
        assert site.control.loop.would_have is not None
        assert site.control.service.state is not None
        site.control.loop.would_have.take(site.control.service.state, site.control.service.routes())
    advised = site.ask("GET", "state")[1]["advised"]
    assert advised["moves"] >= 1
    assert advised["placement"]["web1.nat"] == "e2"
    assert site.control.service.keeper.server_of["web1.nat"] == "c1"
    assert advised["seconds"] == pytest.approx(3 * SMALL.period_s)
    assert advised["delay_ms"] != advised["present_delay_ms"]
    assert site.ask("POST", "migrations", {"vnf": "voice.nat", "target": "e1"})[0] == 202
    assert site.ask("GET", "state")[1]["advised"]["placement"]["voice.nat"] == "e1"
    site.ask("PUT", "mode", {"mode": "auto"})
    assert site.ask("GET", "state")[1]["advised"] is None
