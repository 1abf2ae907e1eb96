"""The records of weights and the work space that `agent.policy_kernels` works with."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from agent.lanes import LANES
from agent.space import IndexArray, Space, sheet, space
from twin.compiled import inner_fused

Float32Array = npt.NDArray[np.float32]
Records = npt.NDArray[np.void]
Record = Any  # one row, which compiled code reads by the names of its fields
BLOCK = 128  # pairs per product, unless one row has more


def padded(size: int) -> int:
    return -(-size // LANES) * LANES


def weights_type(vnf: int, server: int, pair: int, glob: int, hidden: int) -> np.dtype[np.void]:
    """The record of all weights for so many features per block, H = padded(`hidden`).

    BLOCK_scale is 1 / deviation. `feasible` is what the mask adds to a pair's embedding, `feasible_direct` to its
    score. STAY and VALUE are heads: two layers from the context [3H] to one number.
    """
    size = padded(hidden)
    shapes: dict[str, tuple[int, ...]] = {"feasible": (size,), "feasible_direct": (1,), "direct": (padded(pair),)}
    for name, inputs in (("vnf", vnf), ("server", server), ("pair", pair), ("glob", glob)):
        shapes |= {f"{name}_mean": (inputs,), f"{name}_scale": (inputs,), f"{name}_weight": (inputs, size)}
    shapes |= {"pair_bias": (size,), "glob_bias": (size,), "own_bias": (size,), "own": (size, size)}
    shapes |= {"row": (2 * size, size), "column": (2 * size, size), "everything": (size, size), "score": (size,)}
    for head in ("stay", "value"):
        shapes |= {f"{head}_first": (3 * size, size), f"{head}_first_bias": (size,)}
        shapes |= {f"{head}_last": (size,), f"{head}_last_bias": (1,)}
    return np.dtype([(name, np.float32, shape) for name, shape in shapes.items()])


class Room(NamedTuple):
    """Work space for V VNFs and S servers, P pairs in a block of whole rows (all pairs, where they are kept)."""

    vnf: Float32Array  # [V, Fv] standardised, as the next two
    server: Float32Array  # [S, Fs]
    glob: Float32Array  # [1, Fg]
    mean: Float32Array  # [1, S·Fp] what standardises a row of pairs
    scale: Float32Array  # [1, S·Fp]
    vnfs: Float32Array  # [V, H] what VNFs, and later rows, bring to their pairs
    servers: Float32Array  # [S, H]
    rows: Float32Array  # [V, 2H] sums, later means, and maxima
    sums: Float32Array  # [S, H] of columns
    tops: Float32Array  # [S, H] maxima of columns
    columns: Float32Array  # [S, 2H] means and maxima side by side
    whole: Float32Array  # [1, H]
    mean_pair: Float32Array  # [1, H]
    context: Float32Array  # [1, 3H]
    hidden: Float32Array  # [1, H] of a head, and what the mean pair says
    inputs: Float32Array  # [P, Fp]
    first: Float32Array  # [V·S, H]
    second: Float32Array  # [P, H]


def room(weights: Records, vnfs: int, servers: int, *, keep: bool = False) -> Space:
    """Work space for one network's size; to be used by one thread. `keep`: for `agent.gradient_kernels`."""
    w, pairs = weights[0], vnfs * servers if keep else max(BLOCK // servers, 1) * servers
    size, row = len(w["score"]), servers * len(w["pair_mean"])
    return space(
        Room._fields,
        vnf=(vnfs, len(w["vnf_mean"])),
        server=(servers, len(w["server_mean"])),
        glob=(1, len(w["glob_mean"])),
        mean=(1, row),
        scale=(1, row),
        vnfs=(vnfs, size),
        servers=(servers, size),
        rows=(vnfs, 2 * size),
        sums=(servers, size),
        tops=(servers, size),
        columns=(servers, 2 * size),
        whole=(1, size),
        mean_pair=(1, size),
        context=(1, 3 * size),
        hidden=(1, size),
        inputs=(pairs, len(w["pair_mean"])),
        first=(vnfs * servers, size),
        second=(pairs, size),
    )


@inner_fused
def laid_out(w: Record, numbers: Float32Array, plan: IndexArray) -> Room:
    """The sheets of `room`, filled with what does not change."""
    r = Room(
        sheet(numbers, plan, 0), sheet(numbers, plan, 1), sheet(numbers, plan, 2), sheet(numbers, plan, 3),
        sheet(numbers, plan, 4), sheet(numbers, plan, 5), sheet(numbers, plan, 6), sheet(numbers, plan, 7),
        sheet(numbers, plan, 8), sheet(numbers, plan, 9), sheet(numbers, plan, 10), sheet(numbers, plan, 11),
        sheet(numbers, plan, 12), sheet(numbers, plan, 13), sheet(numbers, plan, 14), sheet(numbers, plan, 15),
        sheet(numbers, plan, 16), sheet(numbers, plan, 17),
    )  # fmt: skip
    features = len(w.pair_mean)
    for s in range(len(r.servers)):
        for k in range(features):
            r.mean[0, s * features + k], r.scale[0, s * features + k] = w.pair_mean[k], w.pair_scale[k]
    return r
