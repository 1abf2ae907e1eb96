"""Discovery against a wiring that really carries the frames: what is plugged in is what is found, and only that."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from controller import frames
from controller.discovery import (
    Discovery,
    DiscoveryEvent,
    EndpointConflict,
    EndpointLearnt,
    EndpointMoved,
    ForeignLink,
    LinkDown,
    LinkUp,
    SwitchJoined,
    SwitchLeft,
    UnknownSwitch,
)
from controller.lldp import LldpArrival
from controller.openflow_replies import Port
from controller.stamps import Signer
from twin.samples import Quantity
from twin.scenario import Scenario
from twin.scenario_file import load_scenario

End = tuple[str, int]
HOST_PORT, SPARE_PORT = 10, 11


def signer() -> Signer:
    return Signer(b"unit test of discovery"[:16])


def port(number: int, *, up: bool = True) -> Port:
    return Port(number, f"p{number}", "02:ff:00:00:00:01", up)


class Wiring:
    """Cables between switch ports. Switch k has ports 1.. for its links, in the scenario's order, and two for hosts."""

    def __init__(self, scenario: Scenario) -> None:
        self.cables: dict[End, End] = {}
        self.ports: dict[str, list[int]] = {switch.id: [HOST_PORT, SPARE_PORT] for switch in scenario.switches}
        for link in scenario.links:
            self.plug((link.a, self._new_port(link.a)), (link.b, self._new_port(link.b)))

    def _new_port(self, switch: str) -> int:
        self.ports[switch].append(len(self.ports[switch]) - 1)
        return self.ports[switch][-1]

    def plug(self, a: End, b: End) -> None:
        self.cables[a], self.cables[b] = b, a

    def cut(self, a: End) -> None:
        """Silently: no port goes down."""
        del self.cables[self.cables.pop(a)]


class Lab:
    """A discovery, its wiring and its clock."""

    def __init__(self) -> None:
        self.scenario = load_scenario("small")
        self.wiring = Wiring(self.scenario)
        self.discovery = Discovery(self.scenario, signer(), round_s=1.0, missed_limit=3)
        self.now_s = 100.0
        self.arrivals: list[LldpArrival] = []

    def join(self, *switches: str) -> list[DiscoveryEvent]:
        events: list[DiscoveryEvent] = []
        for switch in self.scenario.switches:
            if not switches or switch.id in switches:
                ports = [port(n) for n in self.wiring.ports[switch.id]]
                events += self.discovery.switch_joined(self.now_s, switch.dpid, ports)
        return events

    def leave(self, switch: str) -> list[DiscoveryEvent]:
        return self.discovery.switch_left(self.dpid(switch))

    def dpid(self, switch: str) -> int:
        return self.scenario.switch(switch).dpid

    def run(self, seconds: float) -> list[DiscoveryEvent]:
        """Sends what is due, carries it along the cables with 5 ms delay, and says what happened."""
        return list(self._run(self.now_s + seconds))

    def _run(self, until_s: float) -> Iterator[DiscoveryEvent]:
        while self.now_s < until_s:
            self.now_s += 0.01
            for frame in self.discovery.due(self.now_s):
                content = frame.encode(self.now_s)
                peer = self.wiring.cables.get((frame.switch, frame.port))
                if peer and peer[0] in self.discovery.switches:
                    told = self.discovery.lldp_in(self.now_s + 0.005, *peer, content)
                    self.arrivals += told.arrivals
                    yield from told.events
            yield from self.discovery.expire(self.now_s)

    def arp(self, endpoint: str, switch: str, port_number: int, *, mac: str = "") -> list[DiscoveryEvent]:
        known = self.scenario.endpoint(endpoint)
        src = mac or known.mac
        arp = frames.Arp(frames.ARP_REQUEST, src, known.ip, "00:00:00:00:00:00", known.ip)
        ethernet = frames.Ethernet("ff:ff:ff:ff:ff:ff", src, frames.ETHERTYPE_ARP, frames.encode_arp(arp))
        return self.discovery.arp_in(switch, port_number, frames.encode_ethernet(ethernet))

    def link_port(self, a: str, b: str) -> int:
        return next(end[1] for end, peer in self.wiring.cables.items() if end[0] == a and peer[0] == b)

    def link_up(self) -> dict[str, float]:
        samples = self.discovery.samples(self.now_s)
        return {s.subject: s.value for s in samples if s.quantity == Quantity.LINK_UP}

    def endpoint_switch(self) -> dict[str, str]:
        samples = self.discovery.samples(self.now_s)
        switches = self.scenario.switches
        return {s.subject: switches[int(s.value)].id for s in samples if s.quantity == Quantity.ENDPOINT_SWITCH}


@pytest.fixture
def lab() -> Lab:
    lab = Lab()
    lab.join()
    lab.run(1.5)
    return lab


def test_everything_plugged_in_is_found_within_one_round() -> None:
    lab = Lab()
    joined = lab.join()
    events = lab.run(1.05)
    links = [link.id for link in lab.scenario.links]
    assert joined == [SwitchJoined(s.id) for s in lab.scenario.switches]
    assert sorted(events, key=str) == sorted([LinkUp(link) for link in links], key=str)
    assert lab.link_up() == dict.fromkeys(links, 1.0)
    assert lab.discovery.missing_links() == []
    expected = {(end[0], peer[0]): end[1] for end, peer in lab.wiring.cables.items()}
    assert lab.discovery.adjacency() == expected


def test_a_round_is_spread_and_every_port_has_one_frame_in_it(lab: Lab) -> None:
    sent = list[tuple[float, End]]()
    for tick in range(1000):
        sent += [(tick, (f.switch, f.port)) for f in lab.discovery.due(lab.now_s + tick / 100)]
    ports = sum(len(p) for p in lab.wiring.ports.values())
    assert len(sent) == pytest.approx(10 * ports, abs=2)
    assert max(sum(1 for tick, _ in sent if tick == t) for t in range(1000)) <= 2
    assert {end for _, end in sent} == {(s, n) for s, ns in lab.wiring.ports.items() for n in ns}


def test_after_a_stall_one_round_is_made_up_for_and_no_more(lab: Lab) -> None:
    ports = sum(len(p) for p in lab.wiring.ports.values())
    assert len(lab.discovery.due(lab.now_s + 60.0)) == ports
    assert len(lab.discovery.due(lab.now_s + 60.01)) <= 2


def test_a_port_that_goes_down_takes_its_link_down_at_once_and_it_returns(lab: Lab) -> None:
    number = lab.link_port("edge1", "core1")
    assert lab.discovery.port_changed(lab.dpid("edge1"), port(number, up=False)) == [
        LinkDown("edge1-core1", "port_down")
    ]
    assert lab.link_up()["edge1-core1"] == 0.0
    assert ("core1", "edge1") not in lab.discovery.adjacency()
    assert lab.run(5.0) == []
    lab.discovery.port_changed(lab.dpid("edge1"), port(number))
    assert lab.run(1.5) == [LinkUp("edge1-core1")]


def test_a_deleted_port_takes_its_link_down(lab: Lab) -> None:
    number = lab.link_port("core1", "edge1")
    events = lab.discovery.port_changed(lab.dpid("core1"), port(number), removed=True)
    assert events == [LinkDown("edge1-core1", "port_down")]


def test_a_silent_loss_is_found_after_the_missed_rounds_and_not_before(lab: Lab) -> None:
    lab.wiring.cut(("core1", lab.link_port("core1", "core2")))
    assert lab.run(2.4) == []
    assert lab.run(2.0) == [LinkDown("core1-core2", "silent")]


def test_one_deaf_direction_is_enough_for_a_link_to_be_down(lab: Lab) -> None:
    end = ("core1", lab.link_port("core1", "core2"))
    del lab.wiring.cables[end]
    assert lab.run(5.0) == [LinkDown("core1-core2", "silent")]


def test_frames_lost_now_and_then_do_not_take_a_link_down(lab: Lab) -> None:
    end = ("core1", lab.link_port("core1", "core2"))
    peer = lab.wiring.cables[end]
    for _ in range(5):
        lab.wiring.cut(end)
        assert lab.run(2.0) == []
        lab.wiring.plug(end, peer)
        assert lab.run(2.0) == []


def test_a_controller_that_stalls_takes_no_link_down(lab: Lab) -> None:
    lab.now_s += 60.0
    assert lab.discovery.expire(lab.now_s) == []
    assert lab.run(3.0) == []


def test_a_switch_that_leaves_takes_its_links_and_its_return_brings_them_back(lab: Lab) -> None:
    events = lab.leave("core1")
    own = ["core1-core2", "core1-core3", "edge1-core1"]
    assert events == [SwitchLeft("core1"), *[LinkDown(link, "switch_gone") for link in own]]
    assert lab.run(5.0) == []
    assert lab.discovery.missing_links() == own
    assert lab.join("core1") == [SwitchJoined("core1")]
    assert sorted(lab.run(1.5), key=str) == sorted([LinkUp(link) for link in own], key=str)
    assert lab.leave("core1")
    assert lab.leave("core1") == []


def test_a_switch_that_joins_twice_was_away(lab: Lab) -> None:
    events = lab.join("edge2")
    assert events == [SwitchLeft("edge2"), LinkDown("edge2-core2", "switch_gone"), SwitchJoined("edge2")]
    assert lab.run(1.5) == [LinkUp("edge2-core2")]


def test_an_unknown_switch_is_reported_once(lab: Lab) -> None:
    assert lab.discovery.switch_joined(0.0, 99, [port(1)]) == [UnknownSwitch(99)]
    assert lab.discovery.switch_joined(1.0, 99, [port(1)]) == []
    assert lab.discovery.switch_left(99) == []
    assert lab.discovery.port_changed(99, port(1, up=False)) == []


def test_a_link_never_seen_is_named_after_the_grace_and_not_before() -> None:
    lab = Lab()
    lab.wiring.cut(("core2", lab.link_port("core2", "core3")))
    lab.join()
    assert LinkDown("core2-core3", "never_seen") not in lab.run(3.9)
    assert "core2-core3" not in lab.link_up()
    assert lab.run(0.3) == [LinkDown("core2-core3", "never_seen")]
    assert lab.link_up()["core2-core3"] == 0.0
    assert lab.discovery.missing_links() == ["core2-core3"]


def test_links_of_a_switch_that_never_joins_are_named_too() -> None:
    lab = Lab()
    lab.run(6.0)
    lab.join("core1", "core2")
    assert lab.run(8.5) == [LinkUp("core1-core2")]  # Open vSwitch may take 8 s to connect
    assert lab.run(1.0).count(LinkDown("edge3-core3", "never_seen")) == 1


def test_a_foreign_link_is_reported_once_and_gives_no_delay_reading(lab: Lab) -> None:
    lab.wiring.plug(("edge1", SPARE_PORT), ("edge2", SPARE_PORT))
    lab.arrivals.clear()
    events = lab.run(3.0)
    assert len(events) == 1
    assert isinstance(events[0], ForeignLink)
    assert {(events[0].a, events[0].a_port), (events[0].b, events[0].b_port)} == {
        ("edge1", SPARE_PORT), ("edge2", SPARE_PORT)
    }  # fmt: skip
    assert not any({a.a, a.b} == {"edge1", "edge2"} for a in lab.arrivals)
    assert SPARE_PORT not in lab.discovery.host_ports("edge1")


def test_a_second_cable_is_foreign_and_the_first_stays_the_link(lab: Lab) -> None:
    first = lab.discovery.adjacency()["core1", "core2"]
    lab.wiring.plug(("core1", SPARE_PORT), ("core2", SPARE_PORT))
    events = lab.run(2.0)
    assert [type(event) for event in events] == [ForeignLink]
    assert lab.discovery.adjacency()["core1", "core2"] == first


def test_a_cable_moved_to_another_switch_takes_the_old_link_down(lab: Lab) -> None:
    number = lab.link_port("edge1", "core1")
    lab.wiring.cut(("edge1", number))
    lab.wiring.plug(("edge1", number), ("core3", SPARE_PORT))
    events = lab.run(1.5)
    assert LinkDown("edge1-core1", "recabled") in events
    assert any(isinstance(event, ForeignLink) for event in events)


def test_arrivals_carry_both_times(lab: Lab) -> None:
    lab.arrivals.clear()
    lab.run(1.0)
    assert len(lab.arrivals) == pytest.approx(2 * len(lab.scenario.links), abs=2)
    assert all(a.received_s - a.sent_s == pytest.approx(0.005, abs=1e-6) for a in lab.arrivals)


class TestForgedFrames:
    def test_of_another_run_foreign_repeated_or_impossible_change_nothing(self, lab: Lab) -> None:
        number = lab.link_port("core1", "core2")
        frame = lab.discovery.due(lab.now_s + 5.0)
        mine = next(f for f in frame if (f.switch, f.port) == ("core1", number))
        content = mine.encode(lab.now_s)
        peer = lab.wiring.cables["core1", number]
        other = Signer(b"another run's key")
        forged = type(mine)(mine.switch, mine.port, mine.dpid, mine.seq, other).encode(lab.now_s)
        assert lab.discovery.lldp_in(lab.now_s, *peer, forged).arrivals == ()
        assert lab.discovery.lldp_in(lab.now_s, *peer, b"\x01\x80\xc2\0\0\x0e" + bytes(50)).arrivals == ()
        assert lab.discovery.lldp_in(lab.now_s, "core1", number, content).arrivals == ()
        assert lab.discovery.lldp_in(lab.now_s, "nowhere", 1, content).arrivals == ()
        before = lab.discovery.ignored_lldp
        assert len(lab.discovery.lldp_in(lab.now_s, *peer, content).arrivals) == 1
        assert lab.discovery.lldp_in(lab.now_s, *peer, content).arrivals == ()
        assert lab.discovery.ignored_lldp == before + 1

    def test_a_frame_kept_by_a_host_and_played_back_later_moves_no_link(self, lab: Lab) -> None:
        due = lab.discovery.due(lab.now_s + 1.0)
        kept = next(f for f in due if f.port == SPARE_PORT).encode(lab.now_s)
        lab.now_s += 1.0
        lab.run(5.0)
        assert lab.discovery.lldp_in(lab.now_s, "edge2", HOST_PORT, kept).events == ()

    def test_from_a_vnf_port_it_is_ignored_and_none_is_sent_there(self, lab: Lab) -> None:
        lab.wiring.plug(("edge1", SPARE_PORT), ("edge2", SPARE_PORT))
        lab.discovery.set_vnf_ports("edge1", {SPARE_PORT})
        lab.discovery.set_vnf_ports("edge2", {SPARE_PORT})
        assert lab.run(3.0) == []
        assert all(f.port != SPARE_PORT for f in lab.discovery.due(lab.now_s + 5.0) if f.switch == "edge1")

    def test_what_a_vnf_passes_on_from_a_real_port_is_ignored(self, lab: Lab) -> None:
        lab.wiring.plug(("edge1", SPARE_PORT), ("edge2", SPARE_PORT))
        lab.discovery.set_vnf_ports("edge2", {SPARE_PORT})
        before = lab.discovery.ignored_lldp
        assert lab.run(3.0) == []
        assert lab.discovery.ignored_lldp > before


class TestEndpoints:
    def test_an_endpoint_is_learnt_and_moves(self, lab: Lab) -> None:
        assert lab.endpoint_switch() == {}
        assert lab.arp("u1", "edge1", HOST_PORT) == [EndpointLearnt("u1", "edge1", HOST_PORT)]
        assert lab.arp("u1", "edge1", HOST_PORT) == []
        assert lab.discovery.endpoint_place("u1") == ("edge1", HOST_PORT)
        assert lab.arp("u1", "edge2", SPARE_PORT) == [EndpointMoved("u1", "edge1", HOST_PORT, "edge2", SPARE_PORT)]
        assert lab.endpoint_switch() == {"u1": "edge2"}

    def test_one_that_is_first_seen_elsewhere_has_moved(self, lab: Lab) -> None:
        assert lab.arp("u1", "edge3", HOST_PORT) == [EndpointMoved("u1", "edge1", 0, "edge3", HOST_PORT)]

    def test_an_endpoint_whose_port_is_down_is_not_read(self, lab: Lab) -> None:
        lab.arp("u1", "edge1", HOST_PORT)
        lab.discovery.port_changed(lab.dpid("edge1"), port(HOST_PORT, up=False))
        assert lab.endpoint_switch() == {}
        assert lab.arp("u1", "edge1", HOST_PORT) == []

    def test_a_switch_link_and_a_vnf_port_teach_nothing(self, lab: Lab) -> None:
        lab.discovery.set_vnf_ports("edge1", {SPARE_PORT})
        assert lab.arp("u1", "edge1", SPARE_PORT) == []
        assert lab.arp("u1", "core1", lab.link_port("core1", "edge1")) == []
        assert lab.endpoint_switch() == {}

    def test_a_port_heard_from_a_switch_is_no_host_port_though_itself_unheard(self, lab: Lab) -> None:
        lab.wiring.plug(("edge1", SPARE_PORT), ("edge2", SPARE_PORT))
        del lab.wiring.cables["edge2", SPARE_PORT]  # only edge1's frames come through
        lab.run(3.0)
        assert lab.discovery.host_ports("edge2") == (HOST_PORT,)
        assert lab.arp("u1", "edge2", SPARE_PORT) == []

    def test_what_was_learnt_at_a_port_that_turns_out_a_link_is_taken_back(self) -> None:
        lab = Lab()
        lab.join()
        number = lab.link_port("core1", "edge1")
        assert lab.arp("u1", "core1", number) != []
        lab.run(1.5)
        assert lab.discovery.endpoint_place("u1") == ("edge1", 0)
        assert lab.arp("u1", "edge1", HOST_PORT) == [EndpointLearnt("u1", "edge1", HOST_PORT)]

    def test_a_stolen_address_is_reported_once_and_not_believed(self, lab: Lab) -> None:
        lab.arp("u1", "edge1", HOST_PORT)
        thief = "02:66:66:66:66:66"
        assert lab.arp("u1", "edge3", HOST_PORT, mac=thief) == [EndpointConflict("u1", thief, "edge3", HOST_PORT)]
        assert lab.arp("u1", "edge3", HOST_PORT, mac=thief) == []
        assert lab.endpoint_switch() == {"u1": "edge1"}

    def test_broken_arp_is_ignored(self, lab: Lab) -> None:
        for content in (b"", bytes(14), b"\xff" * 12 + b"\x08\x06" + bytes(5), b"\xff" * 12 + b"\x08\x06" + bytes(28)):
            assert lab.discovery.arp_in("edge1", HOST_PORT, content) == []
