"""What of a switch this project needs, tried out on the switch itself before anything of ours is installed on it.

Scratch rules that no packet but ours can match are added, shown to work by packets that go through the tables and come
back, and removed; what the switch says of its rules is compared before and after. Source: ours (docs/real-switches.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, islice
from typing import Any

from controller import openflow, scratch
from controller.flow_rule import FlowRule
from controller.openflow_replies import SwitchError
from controller.qualify_line import Line, NoAnswer
from controller.scratch import DROPPED_DSCP, FIRST_TAG, NEXT_TAG

TABLES = 2
BARRIERS_TRIED = 5
FILL_AT_LEAST = 256
BATCH = 64
SEEN_WITHIN_S = 2.0
EVERY_S = 0.01
QUIET_S = 0.15
_AT_ONCE_S = 0.02  # what is below is the way to the switch and back
_NO_TAG = None


@dataclass(frozen=True, slots=True)
class Feature:
    """One thing that was tried. `needed`: without it chains cannot be steered by this switch."""

    name: str
    ok: bool
    found: str
    needed: bool = True


@dataclass(slots=True)
class Qualification:
    """Tries everything on one switch. `rules_needed`: of each table, at most (controller.rule_counts)."""

    line: Line
    rules_needed: Sequence[int]
    found: list[Feature] = field(default_factory=list)
    _installed: dict[object, FlowRule] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=count)

    def run(self) -> list[Feature]:
        """Everything that was found; the switch is left as it was."""
        self._note("OpenFlow 1.3", True, "spoken")
        try:
            self._try()
        except NoAnswer as error:
            self._note("answers all along", False, str(error))
        return self.found

    def _note(self, name: str, ok: bool, found: str, *, needed: bool = True) -> None:
        self.found.append(Feature(name, ok, found, needed))

    def _try(self) -> None:
        line = self.line
        self._note("two tables", line.tables >= TABLES, f"{line.tables} tables")
        before, ports = line.rules(), line.port_counters()
        self._note("flow statistics", before is not None, _told(before, "rules"))
        self._note("port statistics", ports is not None, _told(ports, "ports"))
        took_s = line.barrier()
        self._note("barriers", took_s is not None, "no answer" if took_s is None else f"{took_s * 1000:.1f} ms")
        if before is None or took_s is None or line.tables < TABLES:
            return
        self._remove(rule for rule in before if scratch.is_scratch(rule))  # of a qualification that was killed
        theirs = frozenset(rule for rule in before if not scratch.is_scratch(rule))
        try:
            self._kinds()
            self._behaviour()
            self._room()
        finally:
            if not line.gone:
                self._remove(self._installed.values())
                after = self._rules(lambda rules: rules == theirs)
                self._note("left as it was", after == theirs, _difference(theirs, after))

    # ---- rules of every kind that steering uses

    def _kinds(self) -> None:
        rules = scratch.kinds(self.line.switch, next(iter(self.line.ports), 1))
        refusals = {name: self._add([rule]) for name, rule in rules.items()}
        accepted = {rules[name] for name, refused in refusals.items() if not refused}
        kept = self._rules(accepted.issubset)
        for name, rule in rules.items():
            known = "accepted and read back" if rule in kept else "accepted, but not read back as it was sent"
            self._note(name, rule in kept, refusals[name] or known)
        self._remove(rules.values())

    # ---- that they do what they say

    def _behaviour(self) -> None:
        switch = self.line.switch
        rules = [
            scratch.guard(switch),
            scratch.entry(switch),
            *(scratch.capture(switch, t) for t in (FIRST_TAG, NEXT_TAG)),
        ]
        refused = self._add(rules)
        through = not refused and self._seen(FIRST_TAG)
        told = "tagged in table 0, handed over in table 1" if through else f"a packet did not come back {self._last()}"
        self._note("packets pass both tables", through, refused or told)
        if through:
            self._priorities()
            self._counted(rules[1])
            self._swapped(rules[1])
            self._own_only(rules[2])
            self._honest(rules[2])
        self._remove(rules)

    def _priorities(self) -> None:
        """A marked packet, which the higher rule drops, and behind it one that comes back by the lower."""
        dropped = self._inject(dscp=DROPPED_DSCP)
        came = self._seen(FIRST_TAG) and dropped not in self._came()
        self._note("priorities", came, "the higher rule wins" if came else "the lower rule took a packet of the higher")

    def _counted(self, rule: FlowRule) -> None:
        counters = self.line.counters() or ()
        packets = sum(counter.packets for counter in counters if counter.rule.cookie == rule.cookie)
        self._note("packets counted by rule", packets > 0, f"{packets} of ours")

    def _swapped(self, entry: FlowRule) -> None:
        """What a move does: one rule is given another tag and keeps its cookie. That tag is taken off again."""
        other = scratch.entry(entry.switch, NEXT_TAG)
        refused = self._change([openflow.modify_rule(other)])
        swapped = not refused and self._seen(_NO_TAG) and other in self._rules(lambda rules: other in rules)
        told = "cookie kept, tag taken off" if swapped else f"a packet did not come back untagged {self._last()}"
        self._note("a rule is swapped in place", swapped, refused or told)
        self._change([openflow.modify_rule(entry)])
        self._seen(FIRST_TAG)

    def _own_only(self, rule: FlowRule) -> None:
        """A deletion that names another cookie must not touch the rule: so those of other applications are safe."""
        self._change([openflow.delete_rule(replace(rule, cookie=rule.cookie ^ 0xFF))])
        stays = self._seen(FIRST_TAG) and rule in self._rules(lambda rules: rule in rules)
        self._note("deletes by cookie only", stays, "another's stayed" if stays else "a rule of another cookie went")

    def _honest(self, rule: FlowRule) -> None:
        """After a barrier's reply packets must find the rule as it was changed. Some hardware replies first."""
        lag_s = max(self._lag(rule) for _ in range(BARRIERS_TRIED))
        late = f"obeys up to {lag_s * 1000:.0f} ms later: moves have to be confirmed (no --no-confirm)"
        honest = lag_s < _AT_ONCE_S
        self._note("barriers tell the truth", honest, "obeys before it answers" if honest else late, needed=False)

    def _lag(self, rule: FlowRule) -> float:
        """Seconds from a barrier's reply to the first packet that found the rule changed; at most SEEN_WITHIN_S."""
        self._change([openflow.modify_rule(replace(rule, actions=()))])
        self._quiet()
        self._change([openflow.modify_rule(rule)])
        began_s, sent = self.line.clock(), dict[int, float]()
        while not self._came() & sent.keys() and self.line.clock() - began_s < SEEN_WITHIN_S:
            sent[self._inject()] = self.line.clock() - began_s
            self.line.sleep(EVERY_S)
        return min((sent[number] for number in self._came() & sent.keys()), default=SEEN_WITHIN_S)

    # ---- room and speed

    def _room(self) -> None:
        held, took_s = 0, 0.0
        for table, needed in enumerate(self.rules_needed):
            began_s = self.line.clock()
            room, refused = self._fill(table, max(needed, FILL_AT_LEAST))
            held, took_s = held + room, took_s + self.line.clock() - began_s
            told = f"{room}, {needed} needed" + (f": {refused}" if refused else "")
            self._note(f"room in table {table}", room >= needed, told)
        self._note("rules a second", True, f"{held / max(took_s, 1e-9):.0f}", needed=False)

    def _fill(self, table: int, wanted: int) -> tuple[int, str]:
        """How many of so many rules the table takes, and why not more."""
        rules, room = scratch.filling(self.line.switch, table, wanted), 0
        filled: list[FlowRule] = []
        refusals: list[SwitchError] = []
        while not refusals and (batch := list(islice(rules, BATCH))):
            filled += batch
            self._installed.update((rule.key, rule) for rule in batch)
            refusals = self.line.change([openflow.add_rule(rule) for rule in batch])
            room += len(batch) - len(refusals)
        self._remove(filled)
        return room, str(refusals[0]) if refusals else ""

    # ---- within

    def _add(self, rules: Sequence[FlowRule]) -> str:
        """'' or why one of them was refused."""
        self._installed.update((rule.key, rule) for rule in rules)
        return self._change([openflow.add_rule(rule) for rule in rules])

    def _remove(self, rules: Iterable[FlowRule]) -> None:
        gone = list(rules)
        for start in range(0, len(gone), BATCH):
            self.line.change([openflow.delete_rule(rule) for rule in gone[start : start + BATCH]])
        for rule in gone:
            self._installed.pop(rule.key, None)

    def _change(self, messages: Sequence[bytes]) -> str:
        refusals = self.line.change(messages)
        return f"refused: {refusals[0]}" if refusals else ""

    def _rules(self, wanted: Callable[[Any], bool]) -> frozenset[FlowRule]:
        """Its rules as soon as they are as wanted, else those it has after SEEN_WITHIN_S: it may obey late."""
        deadline_s = self.line.clock() + SEEN_WITHIN_S
        while True:
            rules = self.line.rules() or frozenset()
            if wanted(rules) or self.line.clock() > deadline_s:
                return rules
            self.line.sleep(EVERY_S)

    def _inject(self, *, dscp: int = 0) -> int:
        number = next(self._numbers)
        self.line.inject(scratch.packet(number, dscp=dscp))
        return number

    def _came(self) -> set[int]:
        return {came.number for came in self.line.came}

    def _seen(self, tag: int | None) -> bool:
        """Whether a packet sent from now on comes back with this tag, within SEEN_WITHIN_S."""
        began_s, first = self.line.clock(), self._inject()
        while self.line.clock() - began_s < SEEN_WITHIN_S:
            if any(came.number >= first and came.tag == tag for came in self.line.came):
                return True
            self.line.sleep(EVERY_S)
            self._inject()
        return False

    def _last(self) -> str:
        """What the last packet came back as, for a message."""
        tag = self.line.came[-1].tag if self.line.came else _NO_TAG
        return f"(the last came with {'no tag' if tag is None else f'tag {tag}'})" if self.line.came else "at all"

    def _quiet(self) -> None:
        """Until packets do not come back any more."""
        deadline_s, quiet_since_s, seen = self.line.clock() + SEEN_WITHIN_S, self.line.clock(), len(self.line.came)
        while self.line.clock() - quiet_since_s < QUIET_S and self.line.clock() < deadline_s:
            self._inject()
            self.line.sleep(EVERY_S)
            if len(self.line.came) != seen:
                seen, quiet_since_s = len(self.line.came), self.line.clock()


def _told(answer: Sequence[object] | frozenset[object] | None, what: str) -> str:
    return "no answer" if answer is None else f"{len(answer)} {what}"


def _difference(before: frozenset[FlowRule], after: frozenset[FlowRule]) -> str:
    added, lost = len(after - before), len(before - after)
    return f"{len(before)} rules of others, none of ours" if after == before else f"{added} rules more, {lost} less"
