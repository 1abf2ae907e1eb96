"""Draws plausible states of one network for given placements: the decoder of the multi-task VAE, in numpy.

`twin.learned.vae` fits it. Source: paper (a multi-task VAE that generates); ours: that it is told the placement, which
is computed and never learned, and which states it draws (docs/twin.md, "The generator").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from twin.learned.function import FloatTensor
from twin.state import FloatArray, IntArray

LATENT = 6
BLOCKS = ("traffic", "server_cpu", "link", "delay", "energy")  # one head each
# traffic: log level; server_cpu, link: utilisation; delay: log ms; energy: log W


@dataclass(frozen=True, eq=False)
class Generated:
    """n drawn states: `levels` [n, C] (`Encoder.offered` makes Mbit/s of them), utilisations [n, S] and [n, 2L],
    `delay_ms` [n, C], `power_w` [n] of all servers."""

    levels: FloatArray
    server_cpu: FloatArray
    link: FloatArray
    delay_ms: FloatArray
    power_w: FloatArray


def generate(weights: Mapping[str, FloatTensor], placement: FloatArray, rng: np.random.Generator) -> Generated:
    """One state for every row of `placement` [n, V·S] (`one_hot`), drawn from the prior and every head's own spread."""
    latent = rng.standard_normal((len(placement), LATENT))
    seen = np.concatenate([latent, placement], axis=1)
    hidden = np.tanh(seen @ weights["decoder.weight"] + weights["decoder.bias"])
    drawn = {}
    for block in BLOCKS:
        middle = hidden @ weights[f"{block}.weight"] + weights[f"{block}.bias"]
        noisy = middle + np.exp(weights[f"{block}.log_std"]) * rng.standard_normal(middle.shape)
        drawn[block] = noisy * weights[f"{block}.scale"] + weights[f"{block}.shift"]
    return Generated(
        levels=drawn["traffic"],
        server_cpu=np.maximum(drawn["server_cpu"], 0.0),
        link=np.maximum(drawn["link"], 0.0),
        delay_ms=np.exp(drawn["delay"]),
        power_w=np.exp(drawn["energy"][:, 0]),
    )


def one_hot(hosts: IntArray, servers: int) -> FloatArray:
    """Placements [n, V] as [n, V·S]."""
    result: FloatArray = (hosts[:, :, None] == np.arange(servers)).reshape(len(hosts), -1).astype(np.float64)
    return result
