"""How many rules a scenario may need on one switch, so that a table can be measured against it. Pure. Source: ours."""

from __future__ import annotations

from controller.rules import CLASSIFY, FORWARD, base_rules
from twin.scenario import Scenario, ServiceChain


def rules_needed(scenario: Scenario, switch: str) -> tuple[int, int]:
    """Rules of tables 0 and 1 at most: if every chain crossed the switch in every segment and changed all of them.

    Of each segment an entry in table 0, old and new; in table 1 a hop of each generation, two captures that prove the
    new one, and for the last there the capture of its probes, old and new (docs/steering.md, "Tables").
    """
    ports = range(1, 1 + sum(switch in (link.a, link.b) for link in scenario.links))
    base = base_rules(switch, ports)
    segments = [_segments(chain) for chain in scenario.chains]
    return (
        sum(rule.table == CLASSIFY for rule in base) + sum(2 * number for number in segments),
        sum(rule.table == FORWARD for rule in base) + sum(4 * number + 2 for number in segments),
    )


def _segments(chain: ServiceChain) -> int:
    """Both directions."""
    forward = len(chain.vnfs) + 1
    return 2 * forward if chain.two_way else forward + 1
