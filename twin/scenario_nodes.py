"""Reading YAML as a tree of nodes, so that everything wrong can be told with its line.

A scalar is read by what is asked for, not by what YAML 1.1 would guess: an id `on` stays text, a number is decimal.
Where a value is wrong the problem is noted and a stand-in returned (NaN for a number: no comparison with it is true,
so that one mistake is told once), and reading goes on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from difflib import get_close_matches

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from twin.errors import Problem, ScenarioError

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_DECIMAL = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_WHOLE = re.compile(r"\d+|0x[0-9a-fA-F]+")
_UNITS = {"_mbps": "Mbit/s", "_ms": "ms", "_s": "s", "_w": "W", "_j": "J", "_mb": "MB", "_cores": "cores"}
_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"


class Findings:
    """The problems of a scenario file and where each subject and key stands in it."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.lines: dict[tuple[str, str], int] = {}

    def add(self, line: int, subject: str, message: str, *, file: str | None = None) -> None:
        """Notes a problem once; `file` is this file unless another is named."""
        problem = Problem(file or self.file, line, subject, message)
        if problem not in self.problems:
            self.problems.append(problem)

    def about(self, subject: str, key: str, message: str) -> None:
        """Notes a problem at the line of a subject's key, or of the subject where the key is not written."""
        self.add(self.lines.get((subject, key)) or self.lines.get((subject, ""), 1), subject, message)

    def finish(self) -> None:
        """ScenarioError with all problems by line, where there are any."""
        if self.problems:
            own = [p for p in self.problems if p.file == self.file]
            others = [p for p in self.problems if p.file != self.file]
            raise ScenarioError(sorted(own, key=lambda p: p.line) + others)


def line_of(node: Node) -> int:
    return int(node.start_mark.line) + 1


def kind_of(node: Node) -> str:
    """What a node is, in words."""
    return "mapping" if isinstance(node, MappingNode) else "list" if isinstance(node, SequenceNode) else "single value"


def compose(text: str, findings: Findings) -> Node | None:
    """The tree of a YAML text; None where there is none, with the reason noted."""
    try:
        node: Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        findings.add(*_syntax_problem(error))
        return None
    except RecursionError:
        findings.add(1, "file", "nested too deeply")
        return None
    if node is None:
        findings.add(1, "file", "is empty")
    return node


def _syntax_problem(error: yaml.YAMLError) -> tuple[int, str, str]:
    """Line, subject and message of a syntax error."""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        return (mark.line + 1 if mark else 1), "syntax", f"{error.problem or error.context}"
    return 1, "syntax", " ".join(str(error).split())


def suggestion(word: str, known: Iterable[str]) -> str:
    """The known word that was probably meant (the word with its unit first), or an empty string."""
    names = sorted(known)
    with_unit = [name for name in names if name.startswith(f"{word}_")]
    return next(iter(with_unit or get_close_matches(word, names, n=1)), "")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)`, or an empty string."""
    meant = suggestion(word, known)
    return f" (did you mean '{meant}'?)" if meant else ""


def text_of(node: Node) -> str:
    """A scalar as it was written. ValueError for anything else."""
    if not isinstance(node, ScalarNode):
        raise ValueError(f"must be text, not a {kind_of(node)}")
    if node.tag == _NULL and not node.style:
        raise ValueError("has no value")
    return str(node.value)


def number_of(node: Node, key: str) -> float:
    """A decimal number. ValueError says what it is instead."""
    unit = next((f" of {name}" for suffix, name in _UNITS.items() if key.endswith(suffix)), "")
    if not isinstance(node, ScalarNode):
        raise ValueError(f"must be a number{unit}, not a {kind_of(node)}")
    if node.tag == _NULL and not node.style:
        raise ValueError("has no value")
    text = str(node.value)
    if re.fullmatch(r"[-+]?0\d+", text):
        raise ValueError(f"is '{text}', which YAML 1.1 reads as octal: write {int(text)}")
    if node.style or not _DECIMAL.fullmatch(text):
        raise ValueError(f"must be a finite number{unit} without unit or quotes, not '{text}'")
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"must be a finite number{unit}, not '{text}'")
    return value


def whole_of(node: Node) -> int:
    """A whole number, decimal or 0x hexadecimal. ValueError says what it is instead."""
    text = text_of(node)
    if re.fullmatch(r"0\d+", text):
        raise ValueError(f"is '{text}', which YAML 1.1 reads as octal: write {int(text)}")
    if not _WHOLE.fullmatch(text) or getattr(node, "style", None):
        raise ValueError(f"must be a whole number, not '{text}'")
    return int(text, 0)


def plain(node: Node) -> object:
    """A free value (a VNF's `config`) as Python's own types; keys stay text. ValueError for anything but YAML's."""
    if isinstance(node, MappingNode):
        return {text_of(key): plain(value) for key, value in node.value}
    if isinstance(node, SequenceNode):
        return [plain(item) for item in node.value]
    try:
        return yaml.constructor.SafeConstructor().construct_document(node)
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(" ".join(str(getattr(error, "problem", None) or error).split())) from None


def pairs(node: MappingNode) -> list[tuple[Node, Node]]:
    """A mapping's entries; those merged in by `<<` come where the mapping itself does not give the key."""
    own = [(key, value) for key, value in node.value if key.tag != _MERGE]
    names = {key.value for key, _ in own if isinstance(key, ScalarNode)}
    for key, value in node.value:
        if key.tag != _MERGE:
            continue
        for source in value.value if isinstance(value, SequenceNode) else [value]:
            merged = pairs(source) if isinstance(source, MappingNode) and source is not node else []
            own += [pair for pair in merged if pair[0].value not in names]
            names |= {pair[0].value for pair in merged}
    return own


def peek(node: Node, key: str) -> str:
    """A scalar of a mapping before it is read properly, for the subject of messages; an empty string without it."""
    entries = node.value if isinstance(node, MappingNode) else []
    return next((str(v.value) for k, v in entries if k.value == key and isinstance(v, ScalarNode)), "")
