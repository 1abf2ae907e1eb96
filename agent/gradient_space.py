"""The work space of `agent.gradient_kernels`."""

from __future__ import annotations

from typing import NamedTuple

from agent.policy_space import Float32Array, Record, Records
from agent.space import IndexArray, Space, sheet, space
from twin.compiled import inner_fused


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
    table_ties: Float32Array  # [1, H]
    context: Float32Array  # [1, 3H]
    mean_pair: Float32Array  # [1, H]
    hidden: Float32Array  # [1, H]
    logits: Float32Array  # [1, 1 + V·S]
    moves: Float32Array  # [1, V·S] d_logits of the moves that are feasible
    own: Float32Array  # [H, H] the weight turned, as the next three
    row: Float32Array  # [H, 2H]
    column: Float32Array  # [H, 2H]
    everything: Float32Array  # [H, H]


def back(weights: Records, vnfs: int, servers: int) -> Space:
    """Work space for one network's size; to be used by one thread."""
    size, pairs = len(weights[0]["score"]), vnfs * servers
    return space(
        Back._fields,
        first=(pairs, size),
        mixed=(pairs, size),
        rows=(vnfs, size),
        columns=(servers, size),
        row_said=(vnfs, 2 * size),
        column_said=(servers, 2 * size),
        row_ties=(vnfs, size),
        column_ties=(servers, size),
        table_ties=(1, size),
        context=(1, 3 * size),
        mean_pair=(1, size),
        hidden=(1, size),
        logits=(1, 1 + pairs),
        moves=(1, pairs),
        own=(size, size),
        row=(size, 2 * size),
        column=(size, 2 * size),
        everything=(size, size),
    )


@inner_fused
def back_laid_out(w: Record, numbers: Float32Array, plan: IndexArray) -> Back:
    """The sheets of `back`, filled with what does not change."""
    k = Back(
        sheet(numbers, plan, 0), sheet(numbers, plan, 1), sheet(numbers, plan, 2), sheet(numbers, plan, 3),
        sheet(numbers, plan, 4), sheet(numbers, plan, 5), sheet(numbers, plan, 6), sheet(numbers, plan, 7),
        sheet(numbers, plan, 8), sheet(numbers, plan, 9), sheet(numbers, plan, 10), sheet(numbers, plan, 11),
        sheet(numbers, plan, 12), sheet(numbers, plan, 13), sheet(numbers, plan, 14), sheet(numbers, plan, 15),
        sheet(numbers, plan, 16), sheet(numbers, plan, 17),
    )  # fmt: skip
    _turned(w.own, k.own)
    _turned(w.row, k.row)
    _turned(w.column, k.column)
    _turned(w.everything, k.everything)
    return k


@inner_fused
def _turned(weight: Float32Array, out: Float32Array) -> None:
    for i in range(len(weight)):
        for j in range(len(out)):
            out[j, i] = weight[i, j]
