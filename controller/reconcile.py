"""Desired against installed, rule by rule, from the flow statistics that every poll brings anyway.

A desired rule that a switch lacks is *missing* and installed again; a rule in our cookie range that nobody asked for
is *alien* and deleted. Rules of chains that changed within the verdict interval are left alone: what a plan is doing
right now, or has just done, must not look like a fault. A switch that has just come back is believed sooner
(controller.rule_mender).

Alien rules may be the way that packets still take, where a switch refused to turn an entry over to the new one. So they
stay until every entry of their chain has been seen to be as it should.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from controller.flow_rule import FlowRule
from controller.tags import ENTRY_ROLES, Role, parse_cookie

VERDICT_INTERVAL_S = 2.0
_NO_CHAIN = 0


@dataclass(slots=True)
class Counters:
    """What reconciliation did."""

    rules_repaired: int = 0
    rules_alien: int = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """What has to be installed and what has to be deleted."""

    missing: tuple[FlowRule, ...]
    alien: tuple[FlowRule, ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.alien)


@dataclass(slots=True)
class Reconciler:
    """Compares switch after switch, and remembers where the entries of each settled chain were found right."""

    _right: dict[int, set[str]] = field(default_factory=dict)  # chain number -> switches

    def difference(
        self, switch: str, wanted: Iterable[FlowRule], installed: Iterable[FlowRule], *,
        unsettled: frozenset[int], entries: Mapping[int, frozenset[str]], links_known: bool = True,
        unrepaired: frozenset[int] | None = None,
    ) -> Difference:  # fmt: skip
        """What is to be done on one switch. `entries`: by chain number, the switches that hold its entry rules;
        `unrepaired`: chains whose missing rules are not brought back, those that are `unsettled` unless given.

        Until its links are known (`links_known`) none of its base rules is alien: they let the links' packets in.
        """
        want, have = frozenset(wanted), frozenset(installed)
        found = compare(want, have, unsettled=unsettled, unrepaired=unrepaired)
        wrong = _wrong_entries(want, have)
        for chain, switches in entries.items():
            if chain in unsettled:
                self._right.pop(chain, None)
            elif chain in wrong:
                self._right.get(chain, set()).discard(switch)
            elif switch in switches:
                self._right.setdefault(chain, set()).add(switch)
        unsure = {chain for chain, switches in entries.items() if not self.is_right(chain, switches)}
        return Difference(found.missing, _settled(found.alien, unsure if links_known else unsure | {_NO_CHAIN}))

    def is_right(self, chain: int, entries: frozenset[str]) -> bool:
        """Whether all of these switches were seen to have the chain's entries as wanted since it last changed."""
        return entries <= self._right.get(chain, set())


def _wrong_entries(want: frozenset[FlowRule], have: frozenset[FlowRule]) -> set[int]:
    """Numbers of chains with an entry that leads elsewhere than it should; one that is not there leads nowhere."""
    keys = {rule.key for rule in have}
    return {_chain(rule) for rule in want - have if rule.key in keys and _is_entry(rule)}


def _is_entry(rule: FlowRule) -> bool:
    cookie = parse_cookie(rule.cookie)
    return cookie is not None and cookie.role in ENTRY_ROLES


def compare(
    wanted: Iterable[FlowRule], installed: Iterable[FlowRule], *,
    unsettled: frozenset[int], unrepaired: frozenset[int] | None = None,
) -> Difference:  # fmt: skip
    """The difference on one switch. `installed` are the rules in our cookie range; `unsettled` the numbers of chains
    that are changing or have just changed, `unrepaired` of those whose missing rules are left alone."""
    want, have = frozenset(wanted), frozenset(installed)
    wanted_keys = {rule.key for rule in want}
    # A rule with the key of a wanted one is not deleted but replaced: adding has that effect, without a gap.
    alien = (rule for rule in have - want if rule.key not in wanted_keys)
    missing = _settled(want - have, unsettled if unrepaired is None else unrepaired)
    return Difference(missing, _settled(alien, unsettled))


def _settled(rules: Iterable[FlowRule], unsettled: AbstractSet[int]) -> tuple[FlowRule, ...]:
    return tuple(rule for rule in rules if _chain(rule) not in unsettled)


def _chain(rule: FlowRule) -> int:
    """The number of the chain a rule serves; `_NO_CHAIN` for a base rule or a cookie that is malformed."""
    cookie = parse_cookie(rule.cookie)
    return _NO_CHAIN if cookie is None or cookie.role is Role.BASE else cookie.chain
