"""SNDlib's native XML: networks and demand matrices.

Source of the format: Orlowski, Pióro, Tomaszewski, Wessäly, SNDlib 1.0 - Survivable Network Design Library, 2010.
Capacities and demands are taken as Mbit/s unless the file's `meta/unit` says otherwise.
"""

from __future__ import annotations

import math
from pathlib import Path
from statistics import fmean

from twin.errors import InputError
from twin.importers.geography import Position
from twin.importers.markup import Element, child_text, number
from twin.importers.topology import Cable, Demand, Site, Topology, merge_parallel

_UNITS_MBPS = {"BITPERSEC": 1e-6, "KBITPERSEC": 1e-3, "MBITPERSEC": 1.0, "GBITPERSEC": 1e3, "TBITPERSEC": 1e6}
Pixels = dict[str, tuple[float, float]]


def read_sndlib(root: Element, path: Path, *, mean_delay_ms: float) -> Topology:
    """The network of a file. InputError with the file and what is wrong in it.

    Pixel coordinates have no scale: the delays of such a file's links are in proportion to their lengths on the
    picture, with `mean_delay_ms` as their mean.
    """
    nodes = root.findall("networkStructure/nodes/node")
    holder = root.find("networkStructure/nodes")
    geographical = (holder.get("coordinatesType", "pixel") if holder is not None else "") == "geographical"
    sites = tuple(_site(node, path, geographical=geographical) for node in nodes)
    known = {site.key for site in sites}
    if len(known) != len(sites):
        raise InputError(f"{path}: two nodes have the same id")
    cables = merge_parallel((_cable(link, known, path) for link in _links(root)), directed=False)
    if not geographical:
        cables = _by_picture(cables, {node.get("id", ""): _xy(node, path) for node in nodes}, mean_delay_ms)
    return Topology(path.stem, sites, cables, read_demands(root, path, known))


def _links(root: Element) -> list[Element]:
    return root.findall("networkStructure/links/link")


def _site(node: Element, path: Path, *, geographical: bool) -> Site:
    key = node.get("id", "")
    if not key:
        raise InputError(f"{path}: a node has no id")
    if not geographical or node.find("coordinates") is None:
        return Site(key, key)
    longitude, latitude = _xy(node, path)
    if abs(latitude) > 90 or abs(longitude) > 360:
        raise InputError(f"{path}: node {key} is at {latitude:g}, {longitude:g}, which is no place on Earth")
    return Site(key, key, Position(latitude, longitude))


def _xy(node: Element, path: Path) -> tuple[float, float]:
    """Coordinates of a node: on the picture, or longitude and latitude."""
    key = node.get("id", "")
    if node.find("coordinates") is None:
        return math.nan, math.nan
    x = number(child_text(node, "coordinates/x"), path, f"x of node {key}")
    return x, number(child_text(node, "coordinates/y"), path, f"y of node {key}")


def _end(element: Element, tag: str, known: set[str], path: Path) -> str:
    """Source or target of a link or demand."""
    end = child_text(element, tag) or ""
    if end not in known:
        raise InputError(f"{path}: {element.tag} '{element.get('id', '')}' has the {tag} '{end}', which is no node")
    return end


def _cable(link: Element, known: set[str], path: Path) -> Cable:
    name = link.get("id", "")
    a, b = _end(link, "source", known, path), _end(link, "target", known, path)
    return Cable(a, b, name, _capacity_mbps(link, path))


def _capacity_mbps(link: Element, path: Path) -> float | None:
    """What is installed; else the largest module that could be; None where the file gives neither."""
    what = f"capacity of link {link.get('id', '')}"
    installed = child_text(link, "preInstalledModule/capacity")
    if installed is not None and number(installed, path, what) > 0:
        return number(installed, path, what)
    modules = [number(child_text(m, "capacity"), path, what) for m in link.findall("additionalModules/addModule")]
    largest = max(modules, default=0.0)
    return largest if largest > 0 else None


def _by_picture(cables: tuple[Cable, ...], pixels: Pixels, mean_delay_ms: float) -> tuple[Cable, ...]:
    """Delays in proportion to the lengths on the picture; none where it does not show every node."""
    lengths = [math.dist(pixels[cable.a], pixels[cable.b]) for cable in cables]
    mean = fmean(lengths) if lengths else 0.0
    if not mean > 0:  # NaN too: some node has no coordinates
        return cables
    return tuple(
        Cable(c.a, c.b, c.name, c.capacity_mbps, round(mean_delay_ms * length / mean, 3))
        for c, length in zip(cables, lengths, strict=True)
    )


def read_demands(root: Element, path: Path, known: set[str]) -> tuple[Demand, ...]:
    """The demands of a network file or of a demand matrix, between the known nodes."""
    unit = (child_text(root, "meta/unit") or "MBITPERSEC").upper()
    if unit not in _UNITS_MBPS:
        raise InputError(f"{path}: unknown unit '{unit}' of the demands (known: {', '.join(_UNITS_MBPS)})")
    return tuple(_demand(d, known, path, _UNITS_MBPS[unit]) for d in root.findall("demands/demand"))


def _demand(element: Element, known: set[str], path: Path, unit_mbps: float) -> Demand:
    what = f"demandValue of demand {element.get('id', '')}"
    value = number(child_text(element, "demandValue"), path, what)
    if value < 0:
        raise InputError(f"{path}: {what} is negative")
    return Demand(_end(element, "source", known, path), _end(element, "target", known, path), value * unit_mbps)
