"""`Sample`: the only currency of telemetry, measured or simulated."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Quantity(StrEnum):
    """What a sample measures; the comment names the subject and the unit."""

    SERVER_UP = "server_up"  # server, 1 or 0
    SERVER_CPU = "server_cpu"  # server, cores in use by its VNFs
    SERVER_MEMORY = "server_memory"  # server, MB in use by its VNFs
    SERVER_AWAKE = "server_awake"  # server, 1 or 0
    SERVER_POWER = "server_power"  # server, W
    VNF_CPU = "vnf_cpu"  # vnf, cores
    VNF_MEMORY = "vnf_memory"  # vnf, MB
    VNF_HOST = "vnf_host"  # vnf, index of its server in the scenario
    LINK_UP = "link_up"  # link, 1 or 0
    LINK_DELAY = "link_delay"  # link, ms one way
    LINK_LOAD_FORWARD = "link_load_forward"  # link, Mbit/s from a to b
    LINK_LOAD_BACKWARD = "link_load_backward"  # link, Mbit/s from b to a
    ENDPOINT_SWITCH = "endpoint_switch"  # endpoint, index of its switch in the scenario
    CHAIN_OFFERED = "chain_offered"  # chain, Mbit/s at its ingress
    CHAIN_DELAY = "chain_delay"  # chain, ms end to end
    CHAIN_LOSS = "chain_loss"  # chain, share of probes lost, 0..1


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading. `at_s` is the world's clock (monotonic when live), `subject` the scenario's id of the thing read."""

    at_s: float
    subject: str
    quantity: Quantity
    value: float
