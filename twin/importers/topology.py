"""What an imported file says of a network, whatever its format."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from twin.importers.geography import Position


@dataclass(frozen=True, slots=True)
class Site:
    """A node: its key in the file, its name there (may be empty), and where it is, if the file says."""

    key: str
    name: str
    position: Position | None = None


@dataclass(frozen=True, slots=True)
class Cable:
    """A link between two sites; capacity and delay are None where the file gives none. `name` may be empty."""

    a: str
    b: str
    name: str = ""
    capacity_mbps: float | None = None
    delay_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Demand:
    """Traffic from one site to another in Mbit/s."""

    source: str
    target: str
    mbps: float


@dataclass(frozen=True, slots=True)
class Topology:
    """A network as its file tells it, at most one cable between two sites."""

    name: str
    sites: tuple[Site, ...]
    cables: tuple[Cable, ...]
    demands: tuple[Demand, ...] = ()


def merge_parallel(cables: Iterable[Cable], *, directed: bool) -> tuple[Cable, ...]:
    """One cable per pair of sites; loops are left out.

    Parallel cables add up, their names joined by '+'. In a directed file the two directions are one full-duplex
    cable with the larger capacity. The order is that of the first of each pair.
    """
    pairs: dict[tuple[str, str], list[Cable]] = {}
    for cable in cables:
        if cable.a != cable.b:
            pairs.setdefault((min(cable.a, cable.b), max(cable.a, cable.b)), []).append(cable)
    return tuple(_merged(group, directed=directed) for group in pairs.values())


def _merged(group: Sequence[Cable], *, directed: bool) -> Cable:
    first = group[0]
    forward = [cable for cable in group if not directed or cable.a == first.a]
    backward = [cable for cable in group if cable not in forward]
    sums = [_sum(cable.capacity_mbps for cable in way) for way in (forward, backward)]
    names = dict.fromkeys(cable.name for cable in group if cable.name)
    delays = [cable.delay_ms for cable in group if cable.delay_ms is not None]
    capacity = max((value for value in sums if value is not None), default=None)
    return Cable(first.a, first.b, "+".join(names), capacity, min(delays, default=None))


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def unique_ids(sites: Sequence[Site]) -> dict[str, str]:
    """An id of the scenario for every site's key: its name in letters, digits and '_', numbered where it repeats."""
    ids: dict[str, str] = {}
    taken: set[str] = set()
    for site in sites:
        name = _word(site.name) or _word(f"node {site.key}") or "node"
        number = 1
        candidate = name
        while candidate.lower() in taken:
            number += 1
            candidate = f"{name}_{number}"
        taken.add(candidate.lower())
        ids[site.key] = candidate
    return ids


def _word(text: str) -> str:
    """Text as an id: accents dropped, what is no letter or digit made '_', at most 48 characters."""
    if text.strip().lower() in ("", "none", "?", "null"):
        return ""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9]+", "_", plain).strip("_")[:48].strip("_")
