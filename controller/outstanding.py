"""Whether a switch has done what it never confirmed, told by the rules it says it has. Pure. Source: ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from controller.flow_rule import FlowRule
from controller.plan import MigrationPlan
from controller.steps import Barrier, ConfirmPath, DeleteRules, InstallEntries, InstallRules, Step, SwapEntry

RuleChange = InstallRules | InstallEntries | SwapEntry | DeleteRules


def changes_confirmed_by(plan: MigrationPlan, number: int) -> tuple[RuleChange, ...]:
    """The changes of rules that the plan's step `number` is to confirm: those between its barrier and the one before.

    None where it is no barrier, nor packets behind one.
    """
    found: list[RuleChange] = []
    if isinstance(plan.steps[number], ConfirmPath):
        number -= 1
    if not isinstance(plan.steps[number], Barrier):
        return ()
    for step in reversed(plan.steps[:number]):
        if isinstance(step, Barrier):
            break
        if isinstance(step, RuleChange):
            found.append(step)
    return tuple(reversed(found))


def has_done(switch: str, changes: Iterable[Step], installed: Iterable[FlowRule]) -> bool:
    """Whether `installed`, all rules of the switch, show each of these changes that concerns it."""
    # A modify leaves the cookie as it was, so rules are compared by what they match and do.
    have = {rule.key: (rule.actions, rule.goto) for rule in installed}
    return all(have.get(rule.key) == wanted for rule, wanted in _wanted(changes) if rule.switch == switch)


def _wanted(changes: Iterable[Step]) -> Iterator[tuple[FlowRule, object]]:
    for step in changes:
        match step:
            case InstallRules(rules) | InstallEntries(rules):
                yield from ((rule, (rule.actions, rule.goto)) for rule in rules)
            case SwapEntry(_, new):
                yield new, (new.actions, new.goto)
            case DeleteRules(rules):
                yield from ((rule, None) for rule in rules)
