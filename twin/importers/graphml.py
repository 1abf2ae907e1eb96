"""Internet Topology Zoo: GraphML with the data `label`, `Latitude`, `Longitude`, `LinkSpeedRaw` and the like.

Read by its keys' names, so that any GraphML with the same names goes. Source of the format: Knight et al., The
Internet Topology Zoo, IEEE JSAC 29(9), 2011.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from twin.errors import InputError
from twin.importers.geography import Position
from twin.importers.markup import Element, number
from twin.importers.topology import Cable, Site, Topology, merge_parallel

_UNITS_MBPS = {"": 1e-6, "k": 1e-3, "m": 1.0, "g": 1e3, "t": 1e6}


def read_graphml(root: Element, path: Path) -> Topology:
    """The network of a GraphML file. InputError with the file and what is wrong in it."""
    graphs = root.findall("graph")
    if len(graphs) != 1:
        raise InputError(f"{path}: should hold one graph, not {len(graphs)}")
    graph, names = graphs[0], _key_names(root)
    sites = tuple(_site(node, names, path) for node in graph.findall("node"))
    known = {site.key for site in sites}
    if len(known) != len(sites):
        raise InputError(f"{path}: two nodes have the same id")
    cables = [_cable(edge, names, known, path) for edge in graph.findall("edge")]
    name = _values(graph, names).get("network", "") or path.stem
    directed = graph.get("edgedefault") == "directed"
    return Topology(name, sites, merge_parallel(cables, directed=directed))


def _key_names(root: Element) -> dict[str, str]:
    """What each key's id stands for, in lower case."""
    return {key.get("id", ""): key.get("attr.name", "").lower() for key in root.findall("key")}


def _values(element: Element, names: Mapping[str, str]) -> dict[str, str]:
    """The data of a graph, node or edge by name."""
    data = element.findall("data")
    return {names.get(d.get("key", ""), ""): (d.text or "").strip() for d in data if (d.text or "").strip()}


def _site(node: Element, names: Mapping[str, str], path: Path) -> Site:
    key, values = node.get("id", ""), _values(node, names)
    if not key:
        raise InputError(f"{path}: a node has no id")
    return Site(key, values.get("label", ""), _position(values, path, key))


def _position(values: Mapping[str, str], path: Path, key: str) -> Position | None:
    if "latitude" not in values or "longitude" not in values:
        return None
    latitude = number(values["latitude"], path, f"Latitude of node {key}")
    longitude = number(values["longitude"], path, f"Longitude of node {key}")
    if abs(latitude) > 90 or abs(longitude) > 360:
        raise InputError(f"{path}: node {key} is at {latitude:g}, {longitude:g}, which is no place on Earth")
    return Position(latitude, longitude)


def _cable(edge: Element, names: Mapping[str, str], known: set[str], path: Path) -> Cable:
    a, b, values = edge.get("source", ""), edge.get("target", ""), _values(edge, names)
    for end in (a, b):
        if end not in known:
            raise InputError(f"{path}: an edge {a}-{b} ends at '{end}', which is no node")
    name = values.get("linklabel", "") or values.get("id", "") or edge.get("id", "")
    return Cable(a, b, name, _capacity_mbps(values, path, f"{a}-{b}"))


def _capacity_mbps(values: Mapping[str, str], path: Path, edge: str) -> float | None:
    """`LinkSpeedRaw` in bit/s, else `LinkSpeed` in `LinkSpeedUnits`; None where neither tells."""
    if "linkspeedraw" in values:
        capacity = number(values["linkspeedraw"], path, f"LinkSpeedRaw of edge {edge}") / 1e6
    else:
        unit = _UNITS_MBPS.get(values.get("linkspeedunits", "?")[:1].lower())
        text = values.get("linkspeed", "")
        if unit is None or not text.replace(".", "", 1).isdigit():  # the Zoo also has '<10' and the like
            return None
        capacity = float(text) * unit
    return capacity if capacity > 0 else None
