"""Reading XML that anyone may have written: no entities, no doctype tricks, and errors in one line."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

from twin.errors import InputError

Element = ElementTree.Element


def read_xml(path: Path) -> Element:
    """The root of an XML file, its tags without namespaces. InputError with file and line."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror}") from None
    try:
        _refuse_entities(text, path)
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, expat.ExpatError) as error:
        line = getattr(error, "lineno", None) or getattr(error, "position", (1, 0))[0]
        reason = expat.ErrorString(error.code) or "malformed"
        raise InputError(f"{path}:{line}: is no well-formed XML: {reason}") from None
    except (LookupError, ValueError) as error:  # an encoding that Python or expat does not know
        raise InputError(f"{path}: is no readable XML: {error}") from None
    for element in root.iter():
        element.tag = str(element.tag).rpartition("}")[2]
    return root


def _refuse_entities(text: bytes, path: Path) -> None:
    """InputError for a file that declares entities: a few lines of them can unfold to gigabytes."""

    def refuse(*_: object) -> None:
        raise InputError(f"{path}:{parser.CurrentLineNumber}: declares XML entities, which are not read")

    parser = expat.ParserCreate()
    parser.EntityDeclHandler = refuse
    parser.Parse(text, True)


def number(text: str | None, path: Path, what: str) -> float:
    """A finite number of the file. InputError says what should have been one."""
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{path}: {what} should be a number, not '{(text or '').strip()}'")
    return value


def child_text(element: Element, path: str) -> str | None:
    """Text of the first descendant at `path`, stripped; None where there is none."""
    text = element.findtext(path)
    return text.strip() if text and text.strip() else None
