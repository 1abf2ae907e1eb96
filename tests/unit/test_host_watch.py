"""What polls of servers and instances lead to: the dead are replaced, the lost left, nobody is taken for dead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from controller.containers import Instance, ServerUsage
from controller.host_watch import SERVER_LOST_S
from controller.hosts import HostReadings
from tests.fakes.service import SiteService
from twin.scenario_file import load_scenario

SMALL = load_scenario("small")
VNF = "web1.nat"


class Site(SiteService):
    """Polls give what a test says."""

    def poll_hosts(
        self,
        *,
        dead: Mapping[str, str] | None = None,
        silent: Sequence[str] = (),
        strangers: Sequence[Instance] = (),
        read: Sequence[str] = (),
    ) -> None:
        servers = dict.fromkeys(read, ServerUsage(1.0, 1.0))
        readings = HostReadings({}, servers, dead or {}, strangers, frozenset(silent))
        self.hosts.poll = lambda _active: readings  # type: ignore[method-assign,assignment]
        self.watch.poll()

    def down(self) -> set[str]:
        """Servers that count as down after what the polls have told."""
        self.builder.add(self.telemetry.take_samples(self.site.now_s))
        up = self.builder.build(self.site.now_s).server_up
        return {server.id for server, is_up in zip(self.scenario.servers, up, strict=True) if not is_up}

    def wanted_moves(self) -> list[tuple[str, str]]:
        return [(r.vnf, r.target) for r in self.migrations.records.values()]


@pytest.fixture
def site() -> Site:
    site = Site(SMALL)
    site.watch.migrations, site.watch.keeper = site.migrations, site.keeper
    return site


def test_a_dead_instance_is_replaced_once(site: Site) -> None:
    site.poll_hosts(dead={VNF: site.keeper.active[VNF]})
    site.poll_hosts(dead={VNF: site.keeper.active[VNF]})  # its replacement is under way
    assert [vnf for vnf, _ in site.wanted_moves()] == [VNF]


def test_an_instance_that_was_moved_away_during_the_poll_is_not_dead(site: Site) -> None:
    site.poll_hosts(dead={VNF: "the instance before the move"})
    assert site.wanted_moves() == []


def test_vnfs_of_a_server_whose_engine_stays_silent_are_moved_elsewhere(site: Site) -> None:
    home = site.keeper.server_of[VNF]
    site.poll_hosts(silent=[home])
    assert site.wanted_moves() == []  # an engine may be slow
    site.site.now_s += SERVER_LOST_S
    site.poll_hosts(silent=[home])
    moved = site.wanted_moves()
    lost = {vnf for vnf, server in SMALL.placement.hosts.items() if server == home}
    assert {vnf for vnf, _ in moved} <= lost
    assert {SMALL.vnf(vnf).chain for vnf, _ in moved} == {SMALL.vnf(vnf).chain for vnf in lost}  # one of each chain
    assert home not in {target for _, target in moved}


def test_an_engine_that_answers_in_between_begins_anew(site: Site) -> None:
    home = site.keeper.server_of[VNF]
    for _ in range(4):
        site.poll_hosts(silent=[home])
        site.site.now_s += SERVER_LOST_S / 2
        site.poll_hosts()
    assert site.wanted_moves() == []


def test_when_no_engine_answers_nothing_is_moved(site: Site) -> None:
    """Rather the controller has lost its way to the engines than all servers their VNFs."""
    everyone = [server.id for server in SMALL.servers]
    site.poll_hosts(silent=everyone)
    site.site.now_s += 10 * SERVER_LOST_S
    site.poll_hosts(silent=everyone)
    assert site.wanted_moves() == []


def test_only_a_server_whose_engine_is_silent_is_down(site: Site) -> None:
    first, second, *others = (server.id for server in SMALL.servers)
    site.poll_hosts(silent=[first], read=[second])  # the others answer, but an instance ended while they were read
    assert site.down() == {first}
    site.poll_hosts(read=[first, second, *others])
    assert site.down() == set()
