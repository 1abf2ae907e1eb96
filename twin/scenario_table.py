"""A mapping of a scenario file, read key by key: types, ranges, defaults, and a note of everything wrong."""

from __future__ import annotations

import math
from collections.abc import Collection

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from twin.scenario_nodes import (
    ID,
    Findings,
    did_you_mean,
    kind_of,
    line_of,
    number_of,
    pairs,
    peek,
    suggestion,
    text_of,
    whole_of,
)

ROOT = "scenario"  # subject of the file's outermost mapping


class Table:
    """A mapping in the file. Keys that are not among `keys` are noted at once, missing ones when they are asked for."""

    def __init__(self, findings: Findings, node: Node, subject: str, keys: Collection[str] | None) -> None:
        self.findings, self.subject, self.line = findings, subject, line_of(node)
        self.entries: dict[str, Node] = {}
        self._excused: set[str] = set()  # keys that were probably meant by an unknown one
        findings.lines[subject, ""] = self.line
        if not isinstance(node, MappingNode):
            self.wrong("", f"must be a mapping, not a {kind_of(node)}")
            self._excused.update(keys or ())
            return
        for key, value in pairs(node):
            self._take(key, value, keys)

    def _take(self, key: Node, value: Node, keys: Collection[str] | None) -> None:
        """Files one entry, or says why it can't be."""
        name = str(key.value) if isinstance(key, ScalarNode) else ""
        if not name:
            self.findings.add(line_of(key), self.subject, "a key must be text")
        elif keys is not None and name not in keys:
            self.findings.add(line_of(key), self.subject, f"unknown key '{name}'{did_you_mean(name, keys)}")
            self._excused.add(suggestion(name, keys))
        else:
            if name in self.entries:
                self.findings.add(line_of(key), self.subject, f"key '{name}' is given twice")
            self.entries[name] = value
            self.findings.lines[self.subject, name] = line_of(key)

    def wrong(self, key: str, message: str) -> None:
        """Notes a problem of this key's value (of the mapping itself where `key` is empty)."""
        self.findings.about(self.subject, key, f"{key} {message}" if key else message)

    def node(self, key: str, *, required: bool = True) -> Node | None:
        """The value's node; None where the key is missing, which is noted if it is required."""
        node = self.entries.get(key)
        if node is None and required and key not in self._excused:
            self.wrong("", f"lacks '{key}'")
        return node

    def number(
        self,
        key: str,
        default: float | None = None,
        *,
        low: float = -math.inf,
        high: float = math.inf,
        above: float = -math.inf,
    ) -> float:
        """A number with low <= number <= high and number > above; NaN where it is wrong."""
        node = self.node(key, required=default is None)
        if node is None:
            return math.nan if default is None else default
        try:
            value = number_of(node, key)
        except ValueError as error:
            self.wrong(key, str(error))
            return math.nan
        if not (low <= value <= high and value > above):
            self.wrong(key, f"must be {_range(low, high, above)}, not {value:g}")
            return math.nan
        return value

    def whole(self, key: str, default: int | None = None, *, low: int, high: int) -> int:
        """A whole number within [low, high]; -1 where it is wrong."""
        node = self.node(key, required=default is None)
        if node is None:
            return -1 if default is None else default
        try:
            value = whole_of(node)
        except ValueError as error:
            self.wrong(key, str(error))
            return -1
        if not low <= value <= high:
            self.wrong(key, f"must be from {low} to {high}, not {value}")
            return -1
        return value

    def text(self, key: str, default: str | None = None, *, choices: Collection[str] = ()) -> str:
        """Text as written, one of `choices` if there are any; an empty string where it is wrong."""
        node = self.node(key, required=default is None)
        if node is None:
            return default or ""
        try:
            value = text_of(node)
        except ValueError as error:
            self.wrong(key, str(error))
            return ""
        if choices and value not in choices:
            self.wrong(key, f"must be one of {', '.join(choices)}, not '{value}'{did_you_mean(value, choices)}")
            return ""
        return value

    def flag(self, key: str, *, default: bool = False) -> bool:
        """True or false; the default where it is missing or wrong."""
        choice = self.text(key, "", choices=("true", "false")) if key in self.entries else ""
        return choice == "true" if choice else default

    def ident(self, key: str = "id") -> str:
        """An id: letters, digits, '-' and '_', at most 63; an empty string where it is wrong."""
        value = self.text(key)
        if value and not ID.fullmatch(value):
            self.wrong(key, f"'{value}' must be letters, digits, '-' and '_' (at most 63, the first no '-' or '_')")
            return ""
        return value

    def items(self, key: str, *, required: bool = True) -> list[Node]:
        """The items of a list; empty where it is missing or wrong."""
        node = self.node(key, required=required)
        if node is None or isinstance(node, SequenceNode):
            return list(node.value) if node is not None else []
        self.wrong(key, f"must be a list, not a {kind_of(node)}")
        return []

    def some(self, key: str) -> list[Node]:
        """The items of a list that must have some."""
        items = self.items(key)
        if not items and key in self.entries and isinstance(self.entries[key], SequenceNode):
            self.wrong(key, "must not be empty")
        return items

    def tables(self, key: str, keys: Collection[str]) -> list[Table]:
        """The items of a list of mappings that must have some; `servers` gives the subjects `server e1`, …"""
        return [item(self.findings, node, key, place, keys) for place, node in enumerate(self.some(key), 1)]

    def sub(self, key: str, keys: Collection[str] | None, *, required: bool = False) -> Table | None:
        """A mapping inside this one, with the subject `server e1 power`; None where it is not given."""
        node = self.node(key, required=required)
        subject = key if self.subject == ROOT else f"{self.subject} {key}"
        return None if node is None else Table(self.findings, node, subject, keys)


def item(findings: Findings, node: Node, key: str, place: int, keys: Collection[str]) -> Table:
    """An item of the list `key`, by its id (by its place where it has none); a second one with an id is noted."""
    ident = peek(node, "id")
    singular = "switch" if key == "switches" else key[:-1]
    subject = f"{singular} {ident}" if ident else f"{key}[{place}]"
    if ident and (subject, "") in findings.lines:
        findings.add(line_of(node), subject, "is given twice")
        subject += " (again)"  # so that what is wrong with the first is told at the first
    return Table(findings, node, subject, keys)


def _range(low: float, high: float, above: float) -> str:
    """`above 0`, `at least 0`, `from 0 to 1`, `above 0 and at most 1`."""
    if high == math.inf:
        return f"above {above:g}" if above > -math.inf else f"at least {low:g}"
    return f"above {above:g} and at most {high:g}" if above > -math.inf else f"from {low:g} to {high:g}"
