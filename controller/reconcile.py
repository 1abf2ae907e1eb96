"""Desired against installed, rule by rule, from the flow statistics that every poll brings anyway.

A desired rule that a switch lacks is *missing* and installed again; a rule in our cookie range that nobody asked for
is *alien* and deleted. Rules of chains that changed within the verdict interval are left alone: what a plan is doing
right now, or has just done, must not look like a fault.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from controller.flow_rule import FlowRule
from controller.tags import Role, parse_cookie

VERDICT_INTERVAL_S = 2.0


@dataclass(frozen=True, slots=True)
class Difference:
    """What has to be installed and what has to be deleted."""

    missing: tuple[FlowRule, ...]
    alien: tuple[FlowRule, ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.alien)


def compare(wanted: Iterable[FlowRule], installed: Iterable[FlowRule], *, unsettled: frozenset[int]) -> Difference:
    """The difference on one switch. `installed` are the rules in our cookie range; `unsettled` the numbers of chains
    that are changing or have just changed."""
    want, have = frozenset(wanted), frozenset(installed)
    wanted_keys = {rule.key for rule in want}
    # A rule with the key of a wanted one is not deleted but replaced: adding has that effect, without a gap.
    alien = (rule for rule in have - want if rule.key not in wanted_keys)
    return Difference(_settled(want - have, unsettled), _settled(alien, unsettled))


def _settled(rules: Iterable[FlowRule], unsettled: frozenset[int]) -> tuple[FlowRule, ...]:
    return tuple(rule for rule in rules if _chain(rule) not in unsettled)


def _chain(rule: FlowRule) -> int:
    """The number of the chain a rule serves; 0 for a base rule or a cookie that is malformed."""
    cookie = parse_cookie(rule.cookie)
    return 0 if cookie is None or cookie.role is Role.BASE else cookie.chain
