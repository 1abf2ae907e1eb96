"""`vnftwin qualify`: the Ryu application that tries switches out as they connect, and what it prints."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import eventlet
from rich.console import Console
from rich.table import Table

from controller import openflow, openflow_replies
from controller.qualify import Feature, Qualification
from controller.qualify_line import Line
from controller.rule_counts import rules_needed
from controller.ryu_compat import (
    CONFIG_DISPATCHER,
    DEAD_DISPATCHER,
    HANDSHAKE_DISPATCHER,
    MAIN_DISPATCHER,
    OFP_VERSION,
    Manager,
    RyuApp,
    ofp_event,
    send,
    set_ev_cls,
)
from controller.tls import TlsFiles
from twin.scenario import Scenario

_VERSIONS = {1: "1.0", 2: "1.1", 3: "1.2", 4: "1.3", 5: "1.4", 6: "1.5"}
_POLL_S = 0.05


@dataclass(slots=True)
class Session:
    """The switches that are to be tried out, and what was found so far."""

    scenario: Scenario
    switches: Sequence[str]
    found: dict[str, list[Feature]] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)  # what connected and was none of them

    def begin(self, line: Line) -> None:
        """A switch is there: it is tried out in a green thread of its own."""
        if line.switch in self.switches and line.switch not in self.found:
            qualification = Qualification(line, rules_needed(self.scenario, line.switch))
            self.found[line.switch] = qualification.found
            eventlet.spawn(self._run, qualification)

    def _run(self, qualification: Qualification) -> None:
        qualification.run()
        self.done.add(qualification.line.switch)


class Qualifier(RyuApp):  # type: ignore[misc]
    """Hands what switches say to their lines."""

    OFP_VERSIONS = (OFP_VERSION,)

    def __init__(self, *args: Any, session: Session, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._session = session
        self._names = {switch.dpid: switch.id for switch in session.scenario.switches}
        self._lines: dict[int, Line] = {}
        self._tables: dict[int, int] = {}

    @set_ev_cls(ofp_event.EventOFPHello, HANDSHAKE_DISPATCHER)
    def hello(self, event: Any) -> None:
        offered = _versions(event.msg)
        if OFP_VERSION not in offered:
            words = ", ".join(_VERSIONS.get(version, str(version)) for version in sorted(offered))
            self._session.others.add(f"a switch at {event.msg.datapath.address[0]} speaks OpenFlow {words} only")

    @set_ev_cls(ofp_event.EventOFPSwitchFeatures, CONFIG_DISPATCHER)
    def features(self, event: Any) -> None:
        self._tables[event.msg.datapath_id] = event.msg.n_tables

    @set_ev_cls(ofp_event.EventOFPStateChange, [MAIN_DISPATCHER, DEAD_DISPATCHER])
    def state_changed(self, event: Any) -> None:
        datapath = event.datapath
        if event.state == MAIN_DISPATCHER:
            send(datapath, (openflow.port_desc_request(),))
            if datapath.id not in self._names:
                self._session.others.add(f"a switch with dpid {datapath.id:#x} is not in the scenario")
        elif datapath.id in self._lines:
            self._lines.pop(datapath.id).gone = True

    @set_ev_cls(ofp_event.EventOFPPortDescStatsReply, MAIN_DISPATCHER)
    def port_description(self, event: Any) -> None:
        datapath = event.msg.datapath
        if datapath.id in self._lines or datapath.id not in self._names:
            return
        ports = tuple(port.number for port in openflow_replies.ports(event.msg))
        line = self._lines[datapath.id] = Line(
            self._names[datapath.id], lambda messages: send(datapath, messages), time.monotonic, eventlet.sleep,
            tables=self._tables.get(datapath.id, 0), ports=ports,
        )  # fmt: skip
        self._session.begin(line)

    @set_ev_cls(
        [ofp_event.EventOFPBarrierReply, ofp_event.EventOFPFlowStatsReply, ofp_event.EventOFPPortStatsReply],
        MAIN_DISPATCHER,
    )
    def replied(self, event: Any) -> None:
        if line := self._lines.get(event.msg.datapath.id):
            line.replied(event.msg)

    @set_ev_cls(ofp_event.EventOFPErrorMsg, MAIN_DISPATCHER)
    def refused(self, event: Any) -> None:
        if line := self._lines.get(event.msg.datapath.id):
            line.refused(openflow_replies.switch_error(event.msg))

    @set_ev_cls(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)
    def packet_in(self, event: Any) -> None:
        if line := self._lines.get(event.msg.datapath.id):
            line.packet_in(openflow_replies.packet_in(event.msg))


def _versions(hello: Any) -> set[int]:
    """All that a hello offers: by its bitmap, or else its own version and those below."""
    elements = getattr(hello, "elements", ())  # that of 1.0 has none
    listed = {version for element in elements for version in getattr(element, "versions", ())}
    return listed or set(range(1, hello.version + 1))


def qualify(
    scenario: Scenario, switches: Sequence[str], *, listen: tuple[str, int], tls: TlsFiles | None, timeout_s: float
) -> Mapping[str, list[Feature]]:
    """What was found, by switch, when all of them are done or have not come within `timeout_s`."""
    session = Session(scenario, switches)
    manager = Manager(
        [__name__], ofp_listen_host=listen[0], ofp_port=listen[1], tls=tls, context={"session": session}
    )  # fmt: skip
    manager.stop_on_signals()
    eventlet.spawn(_stop_when_done, manager, session, timeout_s)
    manager.run()
    for switch in switches:
        if switch not in session.found:
            lack = f"did not connect to {listen[0]}:{listen[1]} within {timeout_s:g} s"
            told = "; ".join([lack, *sorted(session.others)])
            session.found[switch] = [Feature("OpenFlow 1.3", False, told)]
    return {switch: session.found[switch] for switch in switches}


def _stop_when_done(manager: Manager, session: Session, timeout_s: float) -> None:
    deadline_s = time.monotonic() + timeout_s
    while len(session.done) < len(session.switches):
        late = time.monotonic() > deadline_s
        if late and session.done >= session.found.keys():
            break
        eventlet.sleep(_POLL_S)
    manager.stop()


def print_found(found: Mapping[str, Sequence[Feature]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({switch: [asdict(feature) for feature in features] for switch, features in found.items()}))
        return
    console = Console()
    for switch, features in found.items():
        table = Table("", "feature", "found", title=f"switch {switch}: {verdict(features)}", title_justify="left")
        for feature in features:
            lack = "[red]lacks[/red]" if feature.needed else "[yellow]note[/yellow]"
            table.add_row("[green]ok[/green]" if feature.ok else lack, feature.name, feature.found)
        console.print(table)


def verdict(features: Sequence[Feature]) -> str:
    lacking = [feature.name for feature in features if feature.needed and not feature.ok]
    return f"cannot be used, lacks {', '.join(lacking)}" if lacking else "can be used"


def qualified(found: Mapping[str, Sequence[Feature]]) -> bool:
    return all(feature.ok or not feature.needed for features in found.values() for feature in features)
