"""The forward pass of `agent.policy` in compiled code: a few hundred pairs in some tens of microseconds.

`agent.policy` is the readable form; a test holds both together. What makes it fast:

- All weights are one record, transposed to [inputs, H] and padded with zeros to whole vector registers.
- Products go to the BLAS that numba calls, on one thread, in blocks of whole rows that stay in the first caches.
- All else is loops over one row of the table, S·H numbers that lie together. What belongs to a VNF or to a feature is
  laid out first as often as a row needs it (a *tile*).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from twin.compiled import compiled_fused, inner_fused, inner_product
from twin.state import BoolArray

Float32Array = npt.NDArray[np.float32]
Records = npt.NDArray[np.void]
Record = Any  # one row, which compiled code reads by the names of its fields
LANES = 8  # float32 numbers in a vector register of 256 bits
BLOCK = 128  # pairs per product, unless one row has more
_CLIP = np.float32(5.0)  # agent.policy.CLIP
_MASKED = np.float32(-1e9)  # agent.policy.MASKED
_ZERO = np.float32(0.0)


def padded(size: int) -> int:
    return -(-size // LANES) * LANES


def weights_type(vnf: int, server: int, pair: int, glob: int, hidden: int) -> np.dtype[np.void]:
    """The record of all weights for so many features per block, H = padded(`hidden`).

    BLOCK_scale is 1 / deviation. `feasible` is what the mask adds to a pair's embedding, `feasible_direct` to its
    score. STAY and VALUE are heads: two layers from the context [3H] to one number.
    """
    size = padded(hidden)
    shapes: dict[str, tuple[int, ...]] = {"feasible": (size,), "feasible_direct": (1,), "direct": (pair,)}
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
    mean: Float32Array  # [S·Fp] tile of what standardises pairs
    scale: Float32Array  # [S·Fp]
    vnfs: Float32Array  # [V, H] what VNFs, and later rows, bring to their pairs
    servers: Float32Array  # [S, H]
    rows: Float32Array  # [V, 2H] sums, later means, and maxima
    sums: Float32Array  # [S, H] of columns, later means
    tops: Float32Array  # [S, H] maxima of columns
    columns: Float32Array  # [S, 2H] both side by side
    whole: Float32Array  # [1, H]
    mean_pair: Float32Array  # [1, H]
    context: Float32Array  # [1, 3H]
    hidden: Float32Array  # [1, H] of a head, and what the mean pair says
    tile: Float32Array  # [S, H]
    inputs: Float32Array  # [P, Fp]
    scores: Float32Array  # [P]
    first: Float32Array  # [V·S, H]
    second: Float32Array  # [P, H]


def room(weights: Records, vnfs: int, servers: int, *, keep: bool = False) -> Room:
    """Room for one network's size; to be used by one thread. `keep`: for `agent.gradient_kernels`."""
    w, pairs = weights[0], vnfs * servers if keep else max(BLOCK // servers, 1) * servers
    size, features = len(w["score"]), len(w["pair_mean"])

    def sheet(*shape: int) -> Float32Array:
        return np.zeros(shape, dtype=np.float32)

    return Room(
        vnf=sheet(vnfs, len(w["vnf_mean"])),
        server=sheet(servers, len(w["server_mean"])),
        glob=sheet(1, len(w["glob_mean"])),
        mean=np.tile(w["pair_mean"], servers),
        scale=np.tile(w["pair_scale"], servers),
        vnfs=sheet(vnfs, size),
        servers=sheet(servers, size),
        rows=sheet(vnfs, 2 * size),
        sums=sheet(servers, size),
        tops=sheet(servers, size),
        columns=sheet(servers, 2 * size),
        whole=sheet(1, size),
        mean_pair=sheet(1, size),
        context=sheet(1, 3 * size),
        hidden=sheet(1, size),
        tile=sheet(servers, size),
        inputs=sheet(pairs, features),
        scores=sheet(pairs),
        first=sheet(vnfs * servers, size),
        second=sheet(pairs, size),
    )


@inner_product
def product(a: Float32Array, b: Float32Array, out: Float32Array) -> None:
    """a·b, a block of rows at a time: for more at once BLAS would start threads."""
    for at in range(0, len(a), BLOCK):
        np.dot(a[at : at + BLOCK], b, out[at : at + BLOCK])


@inner_fused
def _standard(mean: Float32Array, scale: Float32Array, values: Float32Array, out: Float32Array) -> None:
    """Standardised and clipped inputs."""
    for k in range(len(mean)):
        out[k] = min(max((values[k] - mean[k]) * scale[k], -_CLIP), _CLIP)


@inner_fused
def _embed(w: Record, vnf: Float32Array, server: Float32Array, glob: Float32Array, r: Room) -> None:
    """What VNFs (with the whole and the bias) and servers bring to their pairs."""
    size = len(w.score)
    _standard(w.glob_mean, w.glob_scale, glob, r.glob[0])
    for v in range(len(vnf)):
        _standard(w.vnf_mean, w.vnf_scale, vnf[v], r.vnf[v])
    for s in range(len(server)):
        _standard(w.server_mean, w.server_scale, server[s], r.server[s])
    product(r.glob, w.glob_weight, r.whole)
    product(r.vnf, w.vnf_weight, r.vnfs)
    product(r.server, w.server_weight, r.servers)
    for j in range(size):
        r.whole[0, j] += w.glob_bias[j]
    for v in range(len(vnf)):
        for j in range(size):
            r.vnfs[v, j] += w.pair_bias[j] + r.whole[0, j]


@inner_fused
def _first_layer(w: Record, pair: Float32Array, mask: BoolArray, r: Room, logits: Float32Array) -> None:
    """The first embedding of every pair, pooled by row and column; the direct scores into `logits` [1 + V·S]."""
    vnfs, servers, size, features = len(r.vnfs), len(r.servers), len(w.score), len(w.direct)
    block, kept = max(BLOCK // servers, 1), len(r.inputs) == len(r.first)
    r.sums[:] = _ZERO  # embeddings are not negative, so that no maximum is below 0
    r.tops[:] = _ZERO
    for v0 in range(0, vnfs, block):
        count = min(block, vnfs - v0)
        at, to = v0 * servers, (v0 + count) * servers
        inputs = r.inputs[at:to] if kept else r.inputs[: to - at]
        for v in range(count):
            values, out = pair[at + v * servers : to], inputs[v * servers : (v + 1) * servers]
            _standard(r.mean, r.scale, values.reshape(-1), out.reshape(servers * features))
        product(inputs, w.pair_weight, r.first[at:to])
        product(inputs, w.direct, r.scores[: to - at])
        for i in range(to - at):
            logits[1 + at + i] = r.scores[i] + (w.feasible_direct[0] if mask[at + i] else _ZERO)
        for v in range(v0, v0 + count):
            row = slice(v * servers, (v + 1) * servers)
            _enter(w, r, r.vnfs[v], mask[row], r.first[row].reshape(servers * size))
            r.rows[v] = _ZERO
            _pool(r.first[row], r.rows[v, :size], r.rows[v, size:])


@inner_fused
def _enter(w: Record, r: Room, vnf: Float32Array, mask: BoolArray, own: Float32Array) -> None:
    """Ends the first embeddings of a row [S·H] and adds them to the sums and maxima of the columns."""
    tile, servers, sums, tops = r.tile.reshape(-1), r.servers.reshape(-1), r.sums.reshape(-1), r.tops.reshape(-1)
    for s in range(len(mask)):
        feasible, out = np.float32(mask[s]), r.tile[s]
        for j in range(len(vnf)):
            out[j] = vnf[j] + feasible * w.feasible[j]
    for q in range(len(own)):
        value = max(own[q] + tile[q] + servers[q], _ZERO)
        own[q] = value
        sums[q] += value
        tops[q] = max(tops[q], value)


@inner_fused
def _pool(values: Float32Array, sums: Float32Array, tops: Float32Array) -> None:
    """Adds rows [N, H], none negative, to their sums and maxima [H], four at a time."""
    count, size = values.shape
    fours = count // 4 * 4
    for i in range(0, fours, 4):
        a, b, c, d = values[i], values[i + 1], values[i + 2], values[i + 3]
        for j in range(size):
            sums[j] += (a[j] + b[j]) + (c[j] + d[j])
            tops[j] = max(tops[j], max(max(a[j], b[j]), max(c[j], d[j])))
    for i in range(fours, count):
        for j in range(size):
            sums[j] += values[i, j]
            tops[j] = max(tops[j], values[i, j])


@inner_fused
def _exchange(w: Record, r: Room) -> None:
    """What each row (with the whole table and the bias) and each column say to their pairs."""
    vnfs, servers, size = len(r.rows), len(r.columns), len(w.score)
    r.mean_pair[:] = _ZERO
    for v in range(vnfs):
        for j in range(size):
            r.rows[v, j] /= np.float32(servers)
            r.mean_pair[0, j] += r.rows[v, j] / np.float32(vnfs)
    for s in range(servers):
        for j in range(size):
            r.columns[s, j] = r.sums[s, j] / np.float32(vnfs)
            r.columns[s, size + j] = r.tops[s, j]
    product(r.mean_pair, w.everything, r.hidden)
    product(r.rows, w.row, r.vnfs)
    product(r.columns, w.column, r.servers)
    for v in range(vnfs):
        for j in range(size):
            r.vnfs[v, j] += w.own_bias[j] + r.hidden[0, j]


@inner_fused
def _second_layer(w: Record, mask: BoolArray, r: Room, logits: Float32Array) -> None:
    """The second embedding, pooled over the whole table into the context, and the scores of the moves."""
    vnfs, servers, size, context = len(r.vnfs), len(r.servers), len(w.score), r.context[0]
    block, kept = max(BLOCK // servers, 1), len(r.inputs) == len(r.first)
    context[:] = _ZERO
    for v0 in range(0, vnfs, block):
        count = min(block, vnfs - v0)
        at, to = v0 * servers, (v0 + count) * servers
        second = r.second[at:to] if kept else r.second[: to - at]
        product(r.first[at:to], w.own, second)
        for v in range(count):
            row = slice(v * servers, (v + 1) * servers)
            first = r.first[at + v * servers : at + (v + 1) * servers]
            _leave(r, r.vnfs[v0 + v], first.reshape(-1), second[row].reshape(servers * size))
        _pool(second, context[:size], context[size : 2 * size])
        product(second, w.score, r.scores[: to - at])
        for i in range(to - at):
            logits[1 + at + i] = logits[1 + at + i] + r.scores[i] if mask[at + i] else _MASKED


@inner_fused
def _leave(r: Room, vnf: Float32Array, first: Float32Array, second: Float32Array) -> None:
    """Ends the second embeddings of a row [S·H]."""
    tile, servers = r.tile.reshape(-1), r.servers.reshape(-1)
    for s in range(len(r.tile)):
        for j in range(len(vnf)):
            r.tile[s, j] = vnf[j]
    for q in range(len(second)):
        second[q] = max(second[q] + tile[q] + servers[q], _ZERO) + first[q]


@inner_fused
def _head(first: Float32Array, first_bias: Float32Array, last: Float32Array, last_bias: Float32Array, r: Room) -> float:
    result = np.float32(last_bias[0])
    product(r.context, first, r.hidden)
    for j in range(len(last)):
        result += max(r.hidden[0, j] + first_bias[j], _ZERO) * last[j]
    return float(result)


@inner_fused
def embeddings(
    w: Record,
    vnf: Float32Array,
    server: Float32Array,
    pair: Float32Array,
    glob: Float32Array,
    mask: BoolArray,
    r: Room,
    logits: Float32Array,
) -> None:
    """All but the heads: the context, and the scores of the moves into `logits`[1:]."""
    size, context = len(w.score), r.context[0]
    _embed(w, vnf, server, glob, r)
    _first_layer(w, pair, mask, r, logits)
    _exchange(w, r)
    _second_layer(w, mask, r, logits)
    for j in range(size):
        context[j] /= np.float32(len(mask))
        context[2 * size + j] = max(r.whole[0, j], _ZERO)


@compiled_fused
def forward(
    weights: Records,
    vnf: Float32Array,
    server: Float32Array,
    pair: Float32Array,
    glob: Float32Array,
    mask: BoolArray,
    r: Room,
    logits: Float32Array,
    values: Float32Array,
) -> None:
    """Scores B observations into `logits` [B, 1 + V·S], values them into `values` [B]. `pair` is [B, V·S, Fp]."""
    w = weights[0]
    for b in range(len(mask)):
        embeddings(w, vnf[b], server[b], pair[b], glob[b], mask[b], r, logits[b])
        logits[b, 0] = _head(w.stay_first, w.stay_first_bias, w.stay_last, w.stay_last_bias, r)
        values[b] = _head(w.value_first, w.value_first_bias, w.value_last, w.value_last_bias, r)
