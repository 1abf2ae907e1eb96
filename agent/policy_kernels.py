"""The forward pass of `agent.policy` in compiled code: a few hundred pairs in some tens of microseconds.

`agent.policy` is the readable form; a test holds both together. Weights come transposed, [inputs, H], so that the
innermost loops run over the H numbers of one embedding, which lie together in memory and fill vector registers.
Products go to the BLAS that numba calls, in blocks that stay in the first cache and on one thread.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from twin.compiled import compiled_fused, inner_fused, inner_product
from twin.state import BoolArray

Float32Array = npt.NDArray[np.float32]
_CLIP = np.float32(5.0)  # agent.policy.CLIP
_MASKED = np.float32(-1e9)  # agent.policy.MASKED
_ZERO = np.float32(0.0)
BLOCK = 64  # pairs per product


class Block(NamedTuple):
    """One block of inputs: what standardises it, and its weights [F, H]."""

    mean: Float32Array
    scale: Float32Array  # 1 / deviation
    weight: Float32Array


class Head(NamedTuple):
    """Two layers from the context to one number."""

    first: Float32Array  # [3H, H]
    first_bias: Float32Array  # [H]
    last: Float32Array  # [H]
    last_bias: Float32Array  # [1]


class Weights(NamedTuple):
    """All weights, transposed."""

    vnf: Block
    server: Block
    pair: Block  # its last input is the mask, which is not standardised
    glob: Block
    pair_bias: Float32Array
    glob_bias: Float32Array
    own: Float32Array  # [H, H]
    own_bias: Float32Array
    row: Float32Array  # [2H, H]
    column: Float32Array  # [2H, H]
    everything: Float32Array  # [H, H]
    score: Float32Array  # [H]
    direct: Float32Array  # [Fp + 1]
    stay: Head
    value: Head


class Room(NamedTuple):
    """Work space for V VNFs and S servers. Sums, later means, and maxima stand side by side: [..., 2H]."""

    vnf: Float32Array  # [V, Fv] standardised, as the next three
    server: Float32Array  # [S, Fs]
    glob: Float32Array  # [1, Fg]
    inputs: Float32Array  # [V·S, Fp + 1]
    vnfs: Float32Array  # [V, H] what VNFs, and later rows, bring to their pairs
    servers: Float32Array  # [S, H]
    whole: Float32Array  # [1, H]
    rows: Float32Array  # [V, 2H]
    columns: Float32Array  # [S, 2H]
    table: Float32Array  # [2H]
    mean: Float32Array  # [1, H]
    context: Float32Array  # [1, 3H]
    hidden: Float32Array  # [1, H]
    first: Float32Array  # [V·S, H]
    second: Float32Array  # [BLOCK, H]


def room(weights: Weights, vnfs: int, servers: int) -> Room:
    hidden, pairs = len(weights.score), vnfs * servers

    def sheet(*shape: int) -> Float32Array:
        return np.zeros(shape, dtype=np.float32)

    return Room(
        vnf=sheet(vnfs, len(weights.vnf.weight)),
        server=sheet(servers, len(weights.server.weight)),
        glob=sheet(1, len(weights.glob.weight)),
        inputs=sheet(pairs, len(weights.pair.weight)),
        vnfs=sheet(vnfs, hidden),
        servers=sheet(servers, hidden),
        whole=sheet(1, hidden),
        rows=sheet(vnfs, 2 * hidden),
        columns=sheet(servers, 2 * hidden),
        table=sheet(2 * hidden),
        mean=sheet(1, hidden),
        context=sheet(1, 3 * hidden),
        hidden=sheet(1, hidden),
        first=sheet(pairs, hidden),
        second=sheet(BLOCK, hidden),
    )


@inner_product
def _product(a: Float32Array, b: Float32Array, out: Float32Array) -> None:
    np.dot(a, b, out)


@inner_fused
def _standard(block: Block, values: Float32Array, out: Float32Array) -> None:
    """Standardised and clipped inputs of one row; `out` may be longer."""
    for k in range(len(values)):
        out[k] = min(max((values[k] - block.mean[k]) * block.scale[k], -_CLIP), _CLIP)


@inner_fused
def _embed(w: Weights, vnf: Float32Array, server: Float32Array, glob: Float32Array, r: Room) -> None:
    """What VNFs (with the whole and the bias) and servers bring to their pairs."""
    _standard(w.glob, glob, r.glob[0])
    for v in range(len(vnf)):
        _standard(w.vnf, vnf[v], r.vnf[v])
    for s in range(len(server)):
        _standard(w.server, server[s], r.server[s])
    _product(r.glob, w.glob.weight, r.whole)
    _product(r.vnf, w.vnf.weight, r.vnfs)
    _product(r.server, w.server.weight, r.servers)
    for j in range(len(w.score)):
        r.whole[0, j] += w.glob_bias[j]
        for v in range(len(vnf)):
            r.vnfs[v, j] += w.pair_bias[j] + r.whole[0, j]


@inner_fused
def _first_layer(w: Weights, pair: Float32Array, mask: BoolArray, r: Room, logits: Float32Array) -> None:
    """The first embedding of every pair, pooled by row and column; the direct scores into `logits` [1 + V·S]."""
    vnfs, servers, features = pair.shape
    r.rows[:] = _ZERO  # embeddings are not negative, so that no maximum is below 0
    r.columns[:] = _ZERO
    for v in range(vnfs):
        for s in range(servers):
            inputs, direct = r.inputs[v * servers + s], _ZERO
            _standard(w.pair, pair[v, s], inputs)
            inputs[features] = np.float32(mask[v, s])
            for k in range(features + 1):
                direct += w.direct[k] * inputs[k]
            logits[1 + v * servers + s] = direct
    for at in range(0, vnfs * servers, BLOCK):
        _product(r.inputs[at : at + BLOCK], w.pair.weight, r.first[at : at + BLOCK])
    for v in range(vnfs):
        for s in range(servers):
            _enter(r.first[v * servers + s], r.vnfs[v], r.servers[s], r.rows[v], r.columns[s])


@inner_fused
def _enter(own: Float32Array, vnf: Float32Array, server: Float32Array, row: Float32Array, column: Float32Array) -> None:
    """Ends a pair's first embedding and adds it to the sums and maxima of its row and column."""
    size = len(own)
    for j in range(size):
        value = max(own[j] + vnf[j] + server[j], _ZERO)
        own[j] = value
        row[j] += value
        row[size + j] = max(row[size + j], value)
        column[j] += value
        column[size + j] = max(column[size + j], value)


@inner_fused
def _exchange(w: Weights, r: Room) -> None:
    """What each row (with the whole table and the bias) and each column say to their pairs."""
    vnfs, servers, size = len(r.rows), len(r.columns), len(w.score)
    r.mean[:] = _ZERO
    for j in range(size):
        for v in range(vnfs):
            r.rows[v, j] /= np.float32(servers)
            r.mean[0, j] += r.rows[v, j] / np.float32(vnfs)
        for s in range(servers):
            r.columns[s, j] /= np.float32(vnfs)
    _product(r.mean, w.everything, r.hidden)
    _product(r.rows, w.row, r.vnfs)
    _product(r.columns, w.column, r.servers)
    for v in range(vnfs):
        for j in range(size):
            r.vnfs[v, j] += w.own_bias[j] + r.hidden[0, j]


@inner_fused
def _second_layer(w: Weights, mask: BoolArray, r: Room, logits: Float32Array) -> None:
    """The second embedding, pooled over the whole table, and the scores of the moves."""
    vnfs, servers = mask.shape
    pairs, v, s = vnfs * servers, 0, 0
    r.table[:] = _ZERO
    for at in range(0, pairs, BLOCK):
        count = min(BLOCK, pairs - at)
        _product(r.first[at : at + count], w.own, r.second[:count])
        for i in range(count):
            score = _leave(w, r.second[i], r.first[at + i], r.vnfs[v], r.servers[s], r.table)
            logits[1 + at + i] = logits[1 + at + i] + score if mask[v, s] else _MASKED
            s += 1
            if s == servers:
                v, s = v + 1, 0


@inner_fused
def _leave(
    w: Weights, own: Float32Array, first: Float32Array, row: Float32Array, column: Float32Array, table: Float32Array
) -> float:
    """Ends a pair's second embedding, adds it to the table's sums and maxima, and scores it."""
    size, score = len(own), _ZERO
    for j in range(size):
        value = max(own[j] + row[j] + column[j], _ZERO) + first[j]
        table[j] += value
        table[size + j] = max(table[size + j], value)
        score += value * w.score[j]
    return float(score)


@inner_fused
def _head(head: Head, r: Room) -> float:
    _product(r.context, head.first, r.hidden)
    result = np.float32(head.last_bias[0])
    for j in range(len(head.last)):
        result += max(r.hidden[0, j] + head.first_bias[j], _ZERO) * head.last[j]
    return float(result)


@compiled_fused
def forward(
    w: Weights,
    vnf: Float32Array,
    server: Float32Array,
    pair: Float32Array,
    glob: Float32Array,
    mask: BoolArray,
    r: Room,
    logits: Float32Array,
    value: Float32Array,
) -> None:
    """Scores one observation into `logits` [1 + V·S], its value into `value` [1]."""
    size = len(w.score)
    _embed(w, vnf, server, glob, r)
    _first_layer(w, pair, mask, r, logits)
    _exchange(w, r)
    _second_layer(w, mask, r, logits)
    for j in range(size):
        r.context[0, j] = r.table[j] / np.float32(mask.size)
        r.context[0, size + j] = r.table[size + j]
        r.context[0, 2 * size + j] = max(r.whole[0, j], _ZERO)
    logits[0] = _head(w.stay, r)
    value[0] = _head(w.value, r)
