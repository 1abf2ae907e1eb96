"""The policy's gradient in compiled code: what `agent.policy_kernels.forward` does, backwards.

Autograd makes an array of S·V·H numbers for every operation on pairs; here each row of the table is passed through
while it is in the first cache. Names follow the forward pass; `d_x` is the loss's derivative by x. Where several
numbers are the maximum, each gets an even share, as in torch. Tests hold it to autograd.
"""

from __future__ import annotations

import numpy as np

from agent.gradient_space import Back, back_laid_out
from agent.lanes import LANES, greater, load, spread, store, total, where_above, where_equal
from agent.policy_kernels import embeddings
from agent.policy_space import Float32Array, Record, Records, Room, laid_out
from agent.space import IndexArray
from agent.tiles import product_added
from twin.compiled import compiled_fused, inner_fused
from twin.state import BoolArray

_ZERO, _ONE = np.float32(0.0), np.float32(1.0)


@inner_fused
def _back_head(
    first: Float32Array, bias: Float32Array, last: Float32Array, d: float, r: Room, k: Back,
    d_first: Float32Array, d_bias: Float32Array, d_last: Float32Array, d_last_bias: Float32Array,
) -> None:  # fmt: skip
    """One head, whose output has derivative `d`; adds to that of the context."""
    size, zero, share = len(last), spread(_ZERO), spread(np.float32(d))
    d_last_bias[0] += d
    for j in range(0, size, LANES):
        hidden = load(bias, j)
        for i in range(len(first)):
            hidden = hidden + spread(r.context[0, i]) * load(first, i * size + j)
        store(d_last, j, load(d_last, j) + share * greater(hidden, zero))
        d_hidden = where_above(hidden, zero, share * load(last, j))
        store(k.hidden, j, d_hidden)
        store(d_bias, j, load(d_bias, j) + d_hidden)
    for i in range(len(first)):
        said, seen = zero, spread(r.context[0, i])
        for j in range(0, size, LANES):
            at, d_hidden = i * size + j, load(k.hidden, j)
            said = said + d_hidden * load(first, at)
            store(d_first, at, load(d_first, at) + seen * d_hidden)
        k.context[0, i] += total(said)


@inner_fused
def _back_scores(mask: BoolArray, d_logits: Float32Array, r: Room, k: Back, g: Record) -> None:
    """`k.moves`, and the derivatives of what scores a pair directly."""
    features, feasible = r.inputs.shape[1], _ZERO
    for i in range(len(mask)):
        d = d_logits[1 + i] if mask[i] else _ZERO
        k.moves[0, i] = d
        feasible += d
    g.feasible_direct[0] += feasible
    for at in range(0, len(g.direct), LANES):  # beyond the features a register shows the next pair's: never used
        direct = load(g.direct, at)
        for i in range(len(mask)):
            direct = direct + spread(k.moves[0, i]) * load(r.inputs, i * features + at)
        store(g.direct, at, direct)


@inner_fused
def _share_table(r: Room, k: Back) -> None:
    """Derivatives of the table's means and maxima become those of one number each."""
    size = k.table_ties.shape[1]
    for j in range(0, size, LANES):
        ties, top, one = spread(_ZERO), load(r.context, size + j), spread(_ONE)
        for at in range(j, r.second.size, size):
            ties = ties + where_equal(load(r.second, at), top, one)
        store(k.table_ties, j, ties)
    for j in range(size):
        k.context[0, size + j] /= max(k.table_ties[0, j], _ONE)
        k.context[0, j] /= np.float32(len(r.second))


@inner_fused
def _back_second(w: Record, r: Room, k: Back, g: Record) -> None:
    """From scores and context to the second embedding: `k.first` (its way past the exchange), `k.mixed`, their sums."""
    vnfs, servers, size = len(r.vnfs), len(r.servers), len(w.score)
    k.columns[:] = _ZERO
    for v in range(vnfs):
        for j in range(0, size, LANES):
            score, d_score, row = load(w.score, j), load(g.score, j), spread(_ZERO)
            d_mean, d_top, top = load(k.context, j), load(k.context, size + j), load(r.context, size + j)
            for s in range(servers):
                d, at, column = spread(k.moves[0, v * servers + s]), (v * servers + s) * size + j, s * size + j
                second = load(r.second, at)
                d_first = d * score + d_mean + where_equal(second, top, d_top)
                mixed = where_above(second, load(r.first, at), d_first)
                store(k.first, at, d_first)
                store(k.mixed, at, mixed)
                store(k.columns, column, load(k.columns, column) + mixed)
                row, d_score = row + mixed, d_score + d * second
            store(k.rows, v * size + j, row)
            store(g.score, j, d_score)


@inner_fused
def _count_ties(r: Room, k: Back) -> None:
    """How many numbers of each row and of each column are its maximum."""
    vnfs, servers, size = len(r.vnfs), len(r.servers), k.table_ties.shape[1]
    one, zero = spread(_ONE), spread(_ZERO)
    k.column_ties[:] = _ZERO
    for v in range(vnfs):
        for j in range(0, size, LANES):
            row_top, row_ties = load(r.rows, (2 * v + 1) * size + j), zero
            for s in range(servers):
                first, column = load(r.first, (v * servers + s) * size + j), s * size + j
                row_ties = row_ties + where_equal(first, row_top, one)
                ties = where_equal(first, load(r.tops, column), one)
                store(k.column_ties, column, load(k.column_ties, column) + ties)
            store(k.row_ties, v * size + j, row_ties)


@inner_fused
def _share(said: Float32Array, ties: Float32Array, count: int) -> None:
    """Derivatives [N, 2H] of means and maxima become those of one number each."""
    size, part, one = ties.shape[1], spread(_ONE / np.float32(count)), spread(_ONE)
    for n in range(len(said)):
        for j in range(0, size, LANES):
            mean, top = 2 * n * size + j, (2 * n + 1) * size + j
            store(said, mean, load(said, mean) * part)
            store(said, top, load(said, top) / greater(load(ties, n * size + j), one))


@inner_fused
def _back_exchange(r: Room, k: Back, g: Record) -> None:
    """From what rows, columns and the whole said to the first embeddings."""
    vnfs, servers, size = len(r.vnfs), len(r.servers), k.table_ties.shape[1]
    for j in range(0, size, LANES):
        everyone = spread(_ZERO)
        for v in range(vnfs):
            everyone = everyone + load(k.rows, v * size + j)
        store(k.hidden, j, everyone)
        store(g.own_bias, j, load(g.own_bias, j) + everyone)
    product_added(r.mean_pair.T, k.hidden, g.everything)
    product_added(r.first.T, k.mixed, g.own)
    product_added(r.rows.T, k.rows, g.row)
    product_added(r.columns.T, k.columns, g.column)
    k.row_said[:] = _ZERO
    k.column_said[:] = _ZERO
    k.mean_pair[:] = _ZERO
    product_added(k.rows, k.row, k.row_said)
    product_added(k.columns, k.column, k.column_said)
    product_added(k.hidden, k.everything, k.mean_pair)
    product_added(k.mixed, k.own, k.first)
    _count_ties(r, k)
    _share(k.row_said, k.row_ties, servers)
    _share(k.column_said, k.column_ties, vnfs)
    for j in range(size):
        k.mean_pair[0, j] /= np.float32(vnfs * servers)


@inner_fused
def _back_first(r: Room, mask: BoolArray, k: Back, g: Record) -> None:
    """`k.first` becomes the derivative of the first embedding before its rectifier; its sums, and the mask's share."""
    vnfs, servers, size, zero = len(r.vnfs), len(r.servers), k.table_ties.shape[1], spread(_ZERO)
    k.columns[:] = _ZERO
    for v in range(vnfs):
        for j in range(0, size, LANES):
            everyone = load(k.mean_pair, j) + load(k.row_said, 2 * v * size + j)
            row_each, row_top = load(k.row_said, (2 * v + 1) * size + j), load(r.rows, (2 * v + 1) * size + j)
            row, feasible = zero, load(g.feasible, j)
            for s in range(servers):
                at, column = (v * servers + s) * size + j, s * size + j
                first, said = load(r.first, at), load(k.first, at) + everyone + load(k.column_said, 2 * s * size + j)
                said = said + where_equal(first, row_top, row_each)
                said = said + where_equal(first, load(r.tops, column), load(k.column_said, (2 * s + 1) * size + j))
                d = where_above(first, zero, said)
                store(k.first, at, d)
                store(k.columns, column, load(k.columns, column) + d)
                row, feasible = row + d, feasible + spread(np.float32(mask[v * servers + s])) * d
            store(k.rows, v * size + j, row)
            store(g.feasible, j, feasible)


@inner_fused
def _back_embed(r: Room, k: Back, g: Record) -> None:
    """From the sums over rows and columns to what VNFs, servers and the whole brought."""
    size = k.table_ties.shape[1]
    product_added(r.inputs.T, k.first, g.pair_weight)
    product_added(r.vnf.T, k.rows, g.vnf_weight)
    product_added(r.server.T, k.columns, g.server_weight)
    for j in range(0, size, LANES):
        d = spread(_ZERO)
        for v in range(len(k.rows)):
            d = d + load(k.rows, v * size + j)
        whole = d + where_above(load(r.whole, j), spread(_ZERO), load(k.context, 2 * size + j))
        store(g.pair_bias, j, load(g.pair_bias, j) + d)
        store(g.glob_bias, j, load(g.glob_bias, j) + whole)
        store(k.hidden, j, whole)
    product_added(r.glob.T, k.hidden, g.glob_weight)


@compiled_fused
def gradient(
    weights: Records,
    vnf: Float32Array,
    server: Float32Array,
    pair: Float32Array,
    glob: Float32Array,
    mask: BoolArray,
    d_logits: Float32Array,
    d_values: Float32Array,
    numbers: Float32Array,
    plan: IndexArray,
    back_numbers: Float32Array,
    back_plan: IndexArray,
    sums: Records,
) -> None:
    """Adds to the record `sums` the derivatives of all weights, given those of logits [B, 1 + V·S] and values [B].

    The work space must keep all pairs (`agent.policy_kernels.room`).
    """
    w, g = weights[0], sums[0]
    r, k = laid_out(w, numbers, plan), back_laid_out(w, back_numbers, back_plan)
    for b in range(len(mask)):
        ahead = pair[b].size if b + 1 < len(mask) else 0
        embeddings(w, vnf[b], server[b], pair[b], ahead, glob[b], mask[b], r, k.logits[0])
        k.context[:] = _ZERO
        _back_head(w.stay_first, w.stay_first_bias, w.stay_last, d_logits[b, 0], r, k,
                   g.stay_first, g.stay_first_bias, g.stay_last, g.stay_last_bias)  # fmt: skip
        _back_head(w.value_first, w.value_first_bias, w.value_last, d_values[b], r, k,
                   g.value_first, g.value_first_bias, g.value_last, g.value_last_bias)  # fmt: skip
        _share_table(r, k)
        _back_scores(mask[b], d_logits[b], r, k, g)
        _back_second(w, r, k, g)
        _back_exchange(r, k, g)
        _back_first(r, mask[b], k, g)
        _back_embed(r, k, g)
