"""What of a scenario a picture of it needs: what is there and how it hangs together, nothing that changes."""

from __future__ import annotations

from typing import Any

from twin.scenario import Scenario


def topology(scenario: Scenario) -> dict[str, Any]:
    """Switches, servers, endpoints, links and chains with their fixed properties; units are in the names."""
    return {
        "name": scenario.name,
        "period_s": scenario.period_s,
        "objective": {"delay": scenario.objective.delay, "energy": scenario.objective.energy},
        "switches": [{"id": switch.id} for switch in scenario.switches],
        "servers": [
            {"id": s.id, "tier": s.tier, "at": s.at, "cpu_cores": s.cpu_cores, "memory_mb": s.memory_mb}
            for s in scenario.servers
        ],
        "endpoints": [{"id": endpoint.id, "at": endpoint.at} for endpoint in scenario.endpoints],
        "links": [
            {"id": n.id, "a": n.a, "b": n.b, "bandwidth_mbps": n.bandwidth_mbps, "delay_ms": n.delay_ms}
            for n in scenario.links
        ],
        "chains": [
            {
                "id": chain.id,
                "from": chain.ingress,
                "to": chain.egress,
                "max_delay_ms": chain.max_delay_ms,
                "vnfs": [{"id": vnf.id, "type": vnf.type.name} for vnf in chain.vnfs],
            }
            for chain in scenario.chains
        ],
    }
