"""Missing and alien rules, and who is left alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.flow_rule import Output
from controller.reconcile import Reconciler, compare
from controller.rules import base_rules, chain_rules
from controller.steering import Attachment, steer
from twin.scenario import Flow

FLOW = Flow("10.0.0.1", "10.0.0.2", "udp", 5001)
STEERING = steer(1, FLOW, (Attachment("s1", 1), Attachment("s1", 2), Attachment("s1", 3)), lambda a, _b: (a,))
WANTED = base_rules("s1", [9]) | chain_rules(STEERING, {})


def test_the_same_is_no_difference() -> None:
    assert not compare(WANTED, WANTED, unsettled=frozenset())


@pytest.mark.parametrize("rule", sorted(WANTED, key=repr), ids=str)
def test_each_missing_rule_is_found(rule: object) -> None:
    difference = compare(WANTED, WANTED - {rule}, unsettled=frozenset())
    assert (difference.missing, difference.alien) == ((rule,), ())


def test_a_rule_nobody_wants_is_alien() -> None:
    stops = (Attachment("s1", 4), Attachment("s1", 5), Attachment("s1", 6))
    steered = chain_rules(steer(7, FLOW, stops, lambda a, _b: (a,)), {})
    difference = compare(WANTED, WANTED | steered, unsettled=frozenset())
    assert (difference.missing, set(difference.alien)) == ((), set(steered))


def test_a_wrong_rule_is_replaced_not_deleted() -> None:
    """Deleting it first would leave a gap in which packets are lost."""
    rule = next(iter(chain_rules(STEERING, {})))
    wrong = replace(rule, actions=(Output(99),))
    difference = compare(WANTED, WANTED - {rule} | {wrong}, unsettled=frozenset())
    assert (difference.missing, difference.alien) == ((rule,), ())


def test_a_chain_that_changes_is_left_alone_but_no_other() -> None:
    base = base_rules("s1", [9])
    assert not compare(WANTED, base, unsettled=frozenset({1}))
    assert compare(WANTED, base, unsettled=frozenset({2}))
    assert compare(WANTED, frozenset(), unsettled=frozenset({1})).missing


STEERED = chain_rules(STEERING, {})
TURNED = chain_rules(STEERING.with_generation(0, 1), {})
ENTRIES = {1: frozenset({"s1", "s2"})}


def test_the_old_way_stays_until_every_entry_was_seen_to_be_right() -> None:
    """An entry on `s1` that a switch did not turn over still leads the packets along rules nobody wants any more."""
    entry = next(rule for rule in TURNED if rule.key in {r.key for r in STEERED} and rule not in STEERED)
    (before,) = [rule for rule in STEERED if rule.key == entry.key]
    reconciler, old = Reconciler(), STEERED - TURNED - {before}
    assert old

    def read(switch: str, installed: frozenset[object], unsettled: frozenset[int] = frozenset()) -> tuple[object, ...]:
        wanted = TURNED if switch == "s1" else frozenset()
        return reconciler.difference(switch, wanted, installed, unsettled=unsettled, entries=ENTRIES).alien  # type: ignore[arg-type]

    read("s1", TURNED, frozenset({1}))
    assert read("s2", old) == ()  # `s1` has not been seen yet
    assert read("s1", TURNED - {entry} | {before}) == ()
    assert read("s2", old) == ()
    assert read("s1", TURNED) == ()
    assert set(read("s2", old)) == old
    read("s2", old, frozenset({1}))  # the chain changes again: all that was seen is of yesterday
    assert read("s2", old) == ()


def test_base_rules_of_links_not_found_yet_are_left_alone() -> None:
    """A controller that has just begun may see its links late; their packets must not wait for it."""
    reconciler, with_link = Reconciler(), base_rules("s1", [9, 10])
    base = base_rules("s1", [9])
    early = reconciler.difference("s1", base, with_link, unsettled=frozenset(), entries={}, links_known=False)
    assert not early
    late = reconciler.difference("s1", base, with_link, unsettled=frozenset(), entries={}, links_known=True)
    assert set(late.alien) == with_link - base
