"""The policy's gradient in compiled code: what `agent.policy_kernels.forward` does, backwards.

Autograd makes an array of S·V·H numbers for every operation on pairs; here each row of the table is passed through
while it is in the first cache. Names follow the forward pass; `d_x` is the loss's derivative by x. Where several
numbers are the maximum, each gets an even share, as in torch. Tests hold it to autograd.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from agent.policy_kernels import BLOCK, Float32Array, Record, Records, Room, embeddings, product
from twin.compiled import compiled_fused, inner_fused, inner_product
from twin.state import BoolArray

_ZERO, _ONE = np.float32(0.0), np.float32(1.0)


class Back(NamedTuple):
    """Work space of the way back, for V VNFs and S servers."""

    first: Float32Array  # [V·S, H] d_first
    mixed: Float32Array  # [V·S, H] d_mixed, of the second embedding before its rectifier
    rows: Float32Array  # [V, H] sums of derivatives over rows
    columns: Float32Array  # [S, H]
    row_said: Float32Array  # [V, 2H] d_rows: of a row's mean and maximum
    column_said: Float32Array  # [S, 2H]
    row_ties: Float32Array  # [V, H] how many numbers are the maximum
    column_ties: Float32Array  # [S, H]
    table_ties: Float32Array  # [H]
    context: Float32Array  # [1, 3H]
    said: Float32Array  # [1, 3H] what one head adds to it
    whole: Float32Array  # [1, H]
    mean_pair: Float32Array  # [1, H]
    hidden: Float32Array  # [1, H]
    logits: Float32Array  # [1 + V·S]
    square: Float32Array  # [H, H] room for a block's share of a weight's derivative, as the next four
    wide: Float32Array  # [2H, H]
    pair: Float32Array  # [Fp, H]
    vnf: Float32Array  # [Fv, H]
    server: Float32Array  # [Fs, H]


def back(weights: Records, vnfs: int, servers: int) -> Back:
    """Room for one network's size; to be used by one thread."""
    size = len(weights[0]["score"])

    def sheet(*shape: int) -> Float32Array:
        return np.zeros(shape, dtype=np.float32)

    pairs, wide = vnfs * servers, 2 * size
    return Back(
        first=sheet(pairs, size),
        mixed=sheet(pairs, size),
        rows=sheet(vnfs, size),
        columns=sheet(servers, size),
        row_said=sheet(vnfs, wide),
        column_said=sheet(servers, wide),
        row_ties=sheet(vnfs, size),
        column_ties=sheet(servers, size),
        table_ties=sheet(size),
        context=sheet(1, 3 * size),
        said=sheet(1, 3 * size),
        whole=sheet(1, size),
        mean_pair=sheet(1, size),
        hidden=sheet(1, size),
        logits=sheet(1 + pairs),
        square=sheet(size, size),
        wide=sheet(wide, size),
        pair=sheet(*weights[0]["pair_weight"].shape),
        vnf=sheet(*weights[0]["vnf_weight"].shape),
        server=sheet(*weights[0]["server_weight"].shape),
    )


@inner_product
def _gathered(a: Float32Array, b: Float32Array, part: Float32Array, out: Float32Array) -> None:
    """aᵀ·b as `agent.policy_kernels.product`; `part` is room for one block's."""
    out[:] = _ZERO
    for at in range(0, len(a), BLOCK):
        np.dot(a[at : at + BLOCK].T, b[at : at + BLOCK], part)
        out += part


@inner_fused
def _weighed(weights: Float32Array, a: Float32Array, out: Float32Array) -> None:
    """Σ weight · row of a."""
    out[:] = _ZERO
    for i in range(len(a)):
        for j in range(len(out)):
            out[j] += weights[i] * a[i, j]


@inner_fused
def _back_head(
    first: Float32Array, bias: Float32Array, last: Float32Array, d: float, r: Room, k: Back,
    d_first: Float32Array, d_bias: Float32Array, d_last: Float32Array, d_last_bias: Float32Array,
) -> None:  # fmt: skip
    """One head, whose output has derivative `d`; adds to that of the context."""
    product(r.context, first, r.hidden)
    for j in range(len(last)):
        hidden = r.hidden[0, j] + bias[j]
        d_last[j] = d * max(hidden, _ZERO)
        k.hidden[0, j] = d * last[j] if hidden > _ZERO else _ZERO
        d_bias[j] = k.hidden[0, j]
    d_last_bias[0] = d
    product(k.hidden, first.T, k.said)
    for i in range(len(first)):
        k.context[0, i] += k.said[0, i]
        for j in range(len(last)):
            d_first[i, j] = r.context[0, i] * k.hidden[0, j]


@inner_fused
def _count_table_ties(r: Room, k: Back) -> None:
    k.table_ties[:] = _ZERO
    size = len(k.table_ties)
    tops = r.context[0, size : 2 * size]
    for i in range(len(r.second)):
        for j in range(size):
            k.table_ties[j] += _ONE if r.second[i, j] == tops[j] else _ZERO
    for j in range(size):  # the derivatives of one of them
        k.context[0, size + j] /= max(k.table_ties[j], _ONE)
        k.context[0, j] /= np.float32(len(r.second))


@inner_fused
def _back_second(w: Record, r: Room, mask: BoolArray, d_logits: Float32Array, k: Back) -> None:
    """From scores and context to the second embedding: `k.first` (its way past the exchange), `k.mixed`, their sums."""
    vnfs, servers, size = len(r.vnfs), len(r.servers), len(w.score)
    d_mean, d_top, tops = k.context[0, :size], k.context[0, size : 2 * size], r.context[0, size : 2 * size]
    k.columns[:] = _ZERO
    for v in range(vnfs):
        row = k.rows[v]
        row[:] = _ZERO
        for s in range(servers):
            i = v * servers + s
            d, second, first = d_logits[1 + i] if mask[i] else _ZERO, r.second[i], r.first[i]
            d_first, mixed = k.first[i], k.mixed[i]
            for j in range(size):
                d_first[j] = d * w.score[j] + d_mean[j] + (d_top[j] if second[j] == tops[j] else _ZERO)
            for j in range(size):
                mixed[j] = d_first[j] if second[j] > first[j] else _ZERO
            column = k.columns[s]
            for j in range(size):
                row[j] += mixed[j]
                column[j] += mixed[j]


@inner_fused
def _count_pair_ties(r: Room, k: Back) -> None:
    vnfs, servers, size = len(r.vnfs), len(r.servers), len(k.table_ties)
    k.row_ties[:] = _ZERO
    k.column_ties[:] = _ZERO
    for v in range(vnfs):
        row_ties, row_top = k.row_ties[v], r.rows[v, size:]
        for s in range(servers):
            first, ties, top = r.first[v * servers + s], k.column_ties[s], r.tops[s]
            for j in range(size):
                row_ties[j] += _ONE if first[j] == row_top[j] else _ZERO
            for j in range(size):
                ties[j] += _ONE if first[j] == top[j] else _ZERO


@inner_fused
def _share(said: Float32Array, ties: Float32Array, count: int) -> None:
    """Derivatives [N, 2H] of means and maxima become those of one number each."""
    size = ties.shape[1]
    for n in range(len(said)):
        for j in range(size):
            said[n, j] /= np.float32(count)
            said[n, size + j] /= max(ties[n, j], _ONE)


@inner_fused
def _back_exchange(w: Record, r: Room, k: Back, g: Record) -> None:
    """From what rows, columns and the whole said to the first embeddings; `r.second` is room from here on."""
    vnfs, servers, size = len(r.vnfs), len(r.servers), len(w.score)
    k.hidden[:] = _ZERO
    for v in range(vnfs):
        for j in range(size):
            k.hidden[0, j] += k.rows[v, j]
    for j in range(size):
        g.own_bias[j] = k.hidden[0, j]
        for i in range(size):
            g.everything[i, j] = r.mean_pair[0, i] * k.hidden[0, j]
    _gathered(r.first, k.mixed, k.square, g.own)
    _gathered(r.rows, k.rows, k.wide, g.row)
    _gathered(r.columns, k.columns, k.wide, g.column)
    product(k.rows, w.row.T, k.row_said)
    product(k.columns, w.column.T, k.column_said)
    product(k.hidden, w.everything.T, k.mean_pair)
    product(k.mixed, w.own.T, r.second)
    _count_pair_ties(r, k)
    _share(k.row_said, k.row_ties, servers)
    _share(k.column_said, k.column_ties, vnfs)
    for j in range(size):
        k.mean_pair[0, j] /= np.float32(vnfs * servers)


@inner_fused
def _back_first(r: Room, mask: BoolArray, k: Back, g: Record) -> None:
    """`k.first` becomes the derivative of the first embedding before its rectifier; its sums, and the mask's share."""
    vnfs, servers, size = len(r.vnfs), len(r.servers), len(k.table_ties)
    everyone = k.mean_pair[0]
    k.columns[:] = _ZERO
    g.feasible[:] = _ZERO
    for v in range(vnfs):
        row, row_mean, row_each, row_top = k.rows[v], k.row_said[v, :size], k.row_said[v, size:], r.rows[v, size:]
        row[:] = _ZERO
        for s in range(servers):
            i = v * servers + s
            d, first, own, feasible = k.first[i], r.first[i], r.second[i], np.float32(mask[i])
            column, column_mean, column_each, top = (
                k.columns[s],
                k.column_said[s, :size],
                k.column_said[s, size:],
                r.tops[s],
            )
            for j in range(size):
                d[j] += own[j] + everyone[j] + row_mean[j] + (row_each[j] if first[j] == row_top[j] else _ZERO)
            for j in range(size):
                d[j] += column_mean[j] + (column_each[j] if first[j] == top[j] else _ZERO)
            for j in range(size):
                d[j] = d[j] if first[j] > _ZERO else _ZERO
            for j in range(size):
                row[j] += d[j]
                column[j] += d[j]
            for j in range(size):
                g.feasible[j] += feasible * d[j]


@inner_fused
def _back_embed(r: Room, k: Back, g: Record) -> None:
    """From the sums over rows and columns to what VNFs, servers and the whole brought."""
    size = len(k.table_ties)
    _gathered(r.inputs, k.first, k.pair, g.pair_weight)
    _gathered(r.vnf, k.rows, k.vnf, g.vnf_weight)
    _gathered(r.server, k.columns, k.server, g.server_weight)
    for j in range(size):
        d = _ZERO
        for v in range(len(k.rows)):
            d += k.rows[v, j]
        g.pair_bias[j] = d
        whole = d + (k.context[0, 2 * size + j] if r.whole[0, j] > _ZERO else _ZERO)
        g.glob_bias[j] = whole
        for i in range(len(g.glob_weight)):
            g.glob_weight[i, j] = r.glob[0, i] * whole


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
    r: Room,
    k: Back,
    part: Records,
    flat: Float32Array,
    total: Float32Array,
) -> None:
    """Adds to `total` the derivatives of all weights, given those of logits [B, 1 + V·S] and values [B].

    `flat` are the numbers of `part`, one record that takes the derivatives of one observation. `r` must keep all
    pairs (`agent.policy_kernels.room`).
    """
    w, g = weights[0], part[0]
    for b in range(len(mask)):
        embeddings(w, vnf[b], server[b], pair[b], glob[b], mask[b], r, k.logits)
        k.context[:] = _ZERO
        _back_head(w.stay_first, w.stay_first_bias, w.stay_last, d_logits[b, 0], r, k,
                   g.stay_first, g.stay_first_bias, g.stay_last, g.stay_last_bias)  # fmt: skip
        _back_head(w.value_first, w.value_first_bias, w.value_last, d_values[b], r, k,
                   g.value_first, g.value_first_bias, g.value_last, g.value_last_bias)  # fmt: skip
        _count_table_ties(r, k)
        g.feasible_direct[0] = _ZERO
        for i in range(mask.shape[1]):
            r.scores[i] = d_logits[b, 1 + i] if mask[b, i] else _ZERO
            g.feasible_direct[0] += r.scores[i]
        _weighed(r.scores, r.inputs, g.direct)
        _weighed(r.scores, r.second, g.score)
        _back_second(w, r, mask[b], d_logits[b], k)
        _back_exchange(w, r, k, g)
        _back_first(r, mask[b], k, g)
        _back_embed(r, k, g)
        for i in range(len(total)):
            total[i] += flat[i]
