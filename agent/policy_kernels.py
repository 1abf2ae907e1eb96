"""The forward pass of `agent.policy` in compiled code: a few hundred pairs in some tens of microseconds.

`agent.policy` is the readable form; a test holds both together. What makes it fast:

- All weights are one record (`agent.policy_space`), transposed to [inputs, H] and padded with zeros to whole registers.
- Products are summed up in tiles of registers (`agent.tiles`), in blocks of whole rows that stay in the first caches.
- All else works on registers too (`agent.lanes`), a row of the table at a time.
- The caches are asked for the next observation's pairs, 32 kB on `medium`, while one is worked on.
"""

from __future__ import annotations

import numpy as np

from agent.lanes import LANES, Lanes, fetch, greater, less, load, spread, store, total
from agent.policy_space import BLOCK, Float32Array, Record, Records, Room, laid_out
from agent.space import IndexArray
from agent.tiles import product
from twin.compiled import compiled_fused, inner_fused
from twin.state import BoolArray

_CLIP = np.float32(5.0)  # agent.policy.CLIP
_MASKED = np.float32(-1e9)  # agent.policy.MASKED
_ZERO, _ONE = np.float32(0.0), np.float32(1.0)


@inner_fused
def _standard(mean: Float32Array, scale: Float32Array, values: Float32Array, out: Float32Array) -> None:
    """Standardised and clipped inputs."""
    for k in range(len(mean)):
        out[k] = min(max((values[k] - mean[k]) * scale[k], -_CLIP), _CLIP)


@inner_fused
def _standard_row(mean: Float32Array, scale: Float32Array, values: Float32Array, out: Float32Array, ahead: int) -> None:
    """The same of a row of pairs [S·Fp]."""
    least, greatest, whole = spread(-_CLIP), spread(_CLIP), len(mean) // LANES * LANES
    for k in range(0, whole, LANES):
        fetch(values, ahead + k)
        value = (load(values, k) - load(mean, k)) * load(scale, k)
        store(out, k, less(greater(value, least), greatest))
    for k in range(whole, len(mean)):
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
    for j in range(0, size, LANES):
        whole = load(r.whole, j) + load(w.glob_bias, j)
        store(r.whole, j, whole)
        _add_to_each(whole + load(w.pair_bias, j), r.vnfs, j)


@inner_fused
def _add_to_each(value: Lanes, rows: Float32Array, j: int) -> None:
    """To the columns from `j` on, in every row [N, H]."""
    for at in range(j, rows.size, rows.shape[1]):
        store(rows, at, load(rows, at) + value)


@inner_fused
def _first_layer(w: Record, pair: Float32Array, ahead: int, mask: BoolArray, r: Room, logits: Float32Array) -> None:
    """The first embedding of every pair, pooled by row and column; the direct scores into `logits` [1 + V·S]."""
    vnfs, servers, features = len(r.vnfs), len(r.servers), pair.shape[1]
    block, kept = max(BLOCK // servers, 1), len(r.inputs) == len(r.first)
    r.sums[:] = _ZERO  # embeddings are not negative, so that no maximum is below 0
    r.tops[:] = _ZERO
    for v0 in range(0, vnfs, block):
        count = min(block, vnfs - v0)
        at, to = v0 * servers, (v0 + count) * servers
        inputs = r.inputs[at:to] if kept else r.inputs[: to - at]
        for v in range(count):
            values, out = pair[at + v * servers : to], inputs[v * servers : (v + 1) * servers]
            _standard_row(r.mean[0], r.scale[0], values.reshape(-1), out.reshape(servers * features), ahead)
        product(inputs, w.pair_weight, r.first[at:to])
        for i in range(to - at):
            direct = spread(_ZERO)
            for k in range(0, len(w.direct), LANES):  # the weights beyond the features are 0
                direct = direct + load(r.inputs, (at + i if kept else i) * features + k) * load(w.direct, k)
            logits[1 + at + i] = total(direct) + (w.feasible_direct[0] if mask[at + i] else _ZERO)
        for v in range(v0, v0 + count):
            _enter(w, r, v, mask)
        _pool_columns(r.first[at:to], r.sums, r.tops)


@inner_fused
def _enter(w: Record, r: Room, v: int, mask: BoolArray) -> None:
    """Ends the first embeddings of a row and pools them."""
    servers, size, zero = len(r.servers), len(w.score), spread(_ZERO)
    for j in range(0, size, LANES):
        vnf, feasible = load(r.vnfs, v * size + j), load(w.feasible, j)
        row_sum, row_top = zero, zero
        for s in range(servers):
            here, own = s * size + j, (v * servers + s) * size + j
            brought = vnf + load(r.servers, here) + spread(np.float32(mask[v * servers + s])) * feasible
            value = greater(load(r.first, own) + brought, zero)
            store(r.first, own, value)
            row_sum, row_top = row_sum + value, greater(row_top, value)
        store(r.rows, 2 * v * size + j, row_sum)
        store(r.rows, (2 * v + 1) * size + j, row_top)


@inner_fused
def _pool_columns(first: Float32Array, sums: Float32Array, tops: Float32Array) -> None:
    """Adds whole rows of the table to the sums and maxima of its columns [S, H]."""
    for at in range(0, sums.size, LANES):
        column_sum, column_top = load(sums, at), load(tops, at)
        for i in range(at, first.size, sums.size):
            value = load(first, i)
            column_sum, column_top = column_sum + value, greater(column_top, value)
        store(sums, at, column_sum)
        store(tops, at, column_top)


@inner_fused
def _exchange(w: Record, r: Room) -> None:
    """What each row (with the whole table and the bias) and each column say to their pairs."""
    vnfs, servers, size = len(r.rows), len(r.columns), len(w.score)
    row_share, column_share = spread(_ONE / np.float32(servers)), spread(_ONE / np.float32(vnfs))
    for j in range(0, size, LANES):
        whole = spread(_ZERO)
        for v in range(vnfs):
            mean = load(r.rows, 2 * v * size + j) * row_share
            store(r.rows, 2 * v * size + j, mean)
            whole = whole + mean
        store(r.mean_pair, j, whole * column_share)
        for s in range(servers):
            store(r.columns, 2 * s * size + j, load(r.sums, s * size + j) * column_share)
            store(r.columns, (2 * s + 1) * size + j, load(r.tops, s * size + j))
    product(r.mean_pair, w.everything, r.hidden)
    product(r.rows, w.row, r.vnfs)
    product(r.columns, w.column, r.servers)
    for j in range(0, size, LANES):
        _add_to_each(load(w.own_bias, j) + load(r.hidden, j), r.vnfs, j)


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
        for v in range(v0, v0 + count):
            _leave(r, v, second[(v - v0) * servers : (v - v0 + 1) * servers])
        for i in range(to - at):
            score = spread(_ZERO)
            for j in range(0, size, LANES):
                score = score + load(second, i * size + j) * load(w.score, j)
            logits[1 + at + i] = logits[1 + at + i] + total(score) if mask[at + i] else _MASKED


@inner_fused
def _leave(r: Room, v: int, second: Float32Array) -> None:
    """Ends the second embeddings of a row [S, H] and pools them with those of the rows before."""
    servers, size, zero = len(r.servers), second.shape[1], spread(_ZERO)
    for j in range(0, size, LANES):
        vnf, table_sum, table_top = load(r.vnfs, v * size + j), load(r.context, j), load(r.context, size + j)
        for s in range(servers):
            here = s * size + j
            rectified = greater(load(second, here) + vnf + load(r.servers, here), zero)
            value = rectified + load(r.first, v * servers * size + here)
            store(second, here, value)
            table_sum, table_top = table_sum + value, greater(table_top, value)
        store(r.context, j, table_sum)
        store(r.context, size + j, table_top)


@inner_fused
def _head(first: Float32Array, first_bias: Float32Array, last: Float32Array, last_bias: Float32Array, r: Room) -> float:
    result = spread(_ZERO)
    product(r.context, first, r.hidden)
    for j in range(0, len(last), LANES):
        hidden = greater(load(r.hidden, j) + load(first_bias, j), spread(_ZERO))
        result = result + hidden * load(last, j)
    return float(total(result) + last_bias[0])


@inner_fused
def embeddings(
    w: Record,
    vnf: Float32Array,
    server: Float32Array,
    pair: Float32Array,
    ahead: int,
    glob: Float32Array,
    mask: BoolArray,
    r: Room,
    logits: Float32Array,
) -> None:
    """All but the heads: the context, and the scores of the moves into `logits`[1:].

    The next observation's pairs begin `ahead` numbers after this one's: the caches are asked for them meanwhile.
    """
    size, share = len(w.score), spread(_ONE / np.float32(len(mask)))
    _embed(w, vnf, server, glob, r)
    _first_layer(w, pair, ahead, mask, r, logits)
    _exchange(w, r)
    _second_layer(w, mask, r, logits)
    for j in range(0, size, LANES):
        store(r.context, j, load(r.context, j) * share)
        store(r.context, 2 * size + j, greater(load(r.whole, j), spread(_ZERO)))


@compiled_fused
def forward(
    weights: Records,
    vnf: Float32Array,
    server: Float32Array,
    pair: Float32Array,
    glob: Float32Array,
    mask: BoolArray,
    numbers: Float32Array,
    plan: IndexArray,
    logits: Float32Array,
    values: Float32Array,
) -> None:
    """Scores B observations into `logits` [B, 1 + V·S], values them into `values` [B]. `pair` is [B, V·S, Fp]."""
    w = weights[0]
    r = laid_out(w, numbers, plan)
    for b in range(len(mask)):
        ahead = pair[b].size if b + 1 < len(mask) else 0
        embeddings(w, vnf[b], server[b], pair[b], ahead, glob[b], mask[b], r, logits[b])
        logits[b, 0] = _head(w.stay_first, w.stay_first_bias, w.stay_last, w.stay_last_bias, r)
        values[b] = _head(w.value_first, w.value_first_bias, w.value_last, w.value_last_bias, r)
