"""Networks from public collections, made into scenarios (docs/scenario.md, "Importing")."""

from __future__ import annotations

from pathlib import Path

from twin.errors import InputError
from twin.importers.furnish import ImportOptions, furnish
from twin.importers.graphml import read_graphml
from twin.importers.markup import read_xml
from twin.importers.sndlib import read_demands, read_sndlib
from twin.importers.topology import Topology
from twin.scenario import Scenario

__all__ = ["ImportOptions", "import_network"]


def import_network(path: Path | str, *, seed: int, options: ImportOptions | None = None) -> Scenario:
    """The scenario of a Topology Zoo GraphML or SNDlib XML file; the same seed and options give the same scenario.

    InputError with the file and what is wrong in it.
    """
    file, options = Path(path), options or ImportOptions()
    topology = _read(file, options)
    if len(topology.sites) < 2 or not topology.cables:
        counts = f"{len(topology.sites)} nodes and {len(topology.cables)} links"
        raise InputError(f"{file}: has {counts}, which makes no network")
    return furnish(topology, file, seed=seed, options=options)


def _read(file: Path, options: ImportOptions) -> Topology:
    root = read_xml(file)
    if root.tag == "graphml":
        topology = read_graphml(root, file)
    elif root.tag == "network" and root.find("demands") is not None and root.find("networkStructure/links") is None:
        raise InputError(f"{file}: is a demand matrix alone; import its network, with this file as its demands")
    elif root.tag == "network":
        topology = read_sndlib(root, file, mean_delay_ms=options.default_delay_ms)
    else:
        raise InputError(f"{file}: is <{root.tag}>, neither GraphML (<graphml>) nor SNDlib's native XML (<network>)")
    if options.demands is None:
        return topology
    matrix = read_xml(options.demands)
    if matrix.tag != "network":
        raise InputError(f"{options.demands}: is <{matrix.tag}>, no SNDlib demand matrix (<network>)")
    demands = read_demands(matrix, options.demands, {site.key for site in topology.sites})
    return Topology(topology.name, topology.sites, topology.cables, demands)
