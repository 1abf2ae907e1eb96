"""What the cost model says of a view and of its moves; every policy looks through this."""

from __future__ import annotations

from agent.decision import Move, Prediction, View
from twin.costs import Costs, evaluate, scored_delay_ms
from twin.features import Observation, encode
from twin.routing import Router, Routes
from twin.scenario import Scenario
from twin.state import IntArray


class Lookahead:
    """Encodes views and predicts moves. Keeps routes between decisions, since topologies change seldom."""

    def __init__(self) -> None:
        self._router: Router | None = None

    def observation(self, view: View) -> Observation:
        """The view as the policy's network sees it."""
        return encode(view.scenario, view.state, view.forecast, view.mask, self.routes(view))

    def prediction(self, view: View, vnf: int, server: int) -> Prediction:
        """Mean delay and total power now and with VNF row `vnf` on server row `server`, under the present traffic."""
        after = view.state.vnf_server.copy()
        after[vnf] = server
        now, then = self._costs(view, view.state.vnf_server), self._costs(view, after)
        offered = view.state.offered_mbps
        return Prediction(
            delay_now_ms=scored_delay_ms(now, offered),
            delay_after_ms=scored_delay_ms(then, offered),
            power_now_w=now.total_power_w,
            power_after_w=then.total_power_w,
        )

    def move(self, view: View, vnf: int, server: int) -> Move:
        """The decision to move VNF row `vnf` to server row `server`, with what it is predicted to change."""
        prediction = self.prediction(view, vnf, server)
        names = view.scenario.vnfs[vnf].id, view.scenario.servers[server].id
        return Move(*names, reason(view, vnf, server, prediction), prediction)

    def _costs(self, view: View, vnf_server: IntArray) -> Costs:
        state = view.state
        return evaluate(view.scenario, self.routes(view), vnf_server, state.offered_mbps, state.endpoint_switch)

    def routes(self, view: View) -> Routes:
        return self._router_of(view.scenario).routes(view.state.link_up, view.state.link_delay_ms)

    def _router_of(self, scenario: Scenario) -> Router:
        if self._router is None or self._router.scenario is not scenario:
            self._router = Router(scenario)
        return self._router


def reason(view: View, vnf: int, server: int, prediction: Prediction) -> str:
    """One line for people: what a move is predicted to change, and what it frees or wakes."""
    delay = 100.0 * (prediction.delay_after_ms / prediction.delay_now_ms - 1.0)
    parts = [f"predicted {delay:+.0f} % delay, {prediction.power_after_w - prediction.power_now_w:+.0f} W"]
    host = int(view.state.vnf_server[vnf])
    left = int((view.state.vnf_server == host).sum()) - 1
    if left == 0:
        parts.append(f"frees {view.scenario.servers[host].id}")
    elif prediction.power_after_w >= prediction.power_now_w and prediction.delay_after_ms >= prediction.delay_now_ms:
        parts.append(f"leaves {left} on {view.scenario.servers[host].id}")
    if not view.state.hosting[server]:
        parts.append(f"wakes {view.scenario.servers[server].id}")
    return ": ".join([parts[0], ", ".join(parts[1:])]) if len(parts) > 1 else parts[0]
