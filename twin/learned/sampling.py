"""Draws what traffic may do next: the LSTM's mixture on the log increment of demand, sampled slot after slot.

Every draw follows one member of the ensemble all the way, so that members' disagreement shows in the draws' spread.
"""

from __future__ import annotations

import numpy as np

from twin.learned.calibration import filled
from twin.learned.function import FloatTensor, Hidden, TwinFunction
from twin.learned.inputs import CHAIN_INPUTS, LEVEL_LIMIT, Encoder, chain_inputs
from twin.state import FloatArray


def sample_traffic(
    encoder: Encoder, function: TwinFunction, history_mbps: FloatArray, *, n: int, horizon: int,
    rng: np.random.Generator,
) -> FloatArray:  # fmt: skip
    """`n` draws of the traffic in the next `horizon` slots, [n, horizon, C].

    `history_mbps` [W, C] is what every draw continues, or [n, W, C] with one history each; NaN where not read.
    ValueError for another shape.
    """
    histories = np.broadcast_to(history_mbps, (n, *history_mbps.shape)) if history_mbps.ndim == 2 else history_mbps
    if histories.ndim != 3 or len(histories) != n or histories.shape[2] != len(encoder.scenario.chains):
        raise ValueError(f"history {history_mbps.shape} is neither [W, C] nor [{n}, W, C]")
    result = np.zeros((n, horizon, histories.shape[2]))
    for member in range(function.members):
        rows = slice(member, n, function.members)
        if len(histories[rows]):
            one = function.member(member)
            shared = histories[:1] if history_mbps.ndim == 2 else histories[rows]
            result[rows] = _continue(encoder, one, shared, len(histories[rows]), horizon, rng)
    return result


def _continue(
    encoder: Encoder, one: TwinFunction, histories: FloatArray, n: int, horizon: int, rng: np.random.Generator
) -> FloatArray:
    """Draws of one member: [n, horizon, C] from `histories` [1 or n, W, C]."""
    size, window, chains = histories.shape
    flat = histories.transpose(1, 0, 2).reshape(window, size * chains)
    levels = np.asarray(encoder.levels(filled(flat).reshape(window, size, chains))).reshape(window, -1)
    seen = chain_inputs(levels, np.isfinite(flat), None)
    state, level = _ready(one, seen, n // size), np.tile(levels[-1].reshape(size, chains), (n // size, 1)).ravel()
    inputs = np.zeros((n * chains, len(CHAIN_INPUTS)), dtype=np.float32)
    inputs[:, 2] = 1.0
    drawn = np.zeros((n, horizon, chains))
    for slot in range(horizon):
        increment = _draw(one, state.h, rng)
        after = np.clip(level + increment, -LEVEL_LIMIT, LEVEL_LIMIT)
        inputs[:, 0], inputs[:, 1], level = after, after - level, after
        drawn[:, slot] = after.reshape(n, chains)
        if slot + 1 < horizon:
            state = one.step(inputs, state)
    return encoder.offered(drawn)


def _ready(one: TwinFunction, seen: FloatArray, copies: int) -> Hidden:
    """The LSTM's state after the histories, repeated for every draw that continues them."""
    state = one.start(seen.shape[1])
    for row in seen:
        state = one.step(row.astype(np.float32), state)
    return Hidden(np.tile(state.h, (1, copies, 1)), np.tile(state.c, (1, copies, 1)))


def _draw(one: TwinFunction, h: FloatTensor, rng: np.random.Generator) -> FloatArray:
    """One log increment for every row [N] of the mixture."""
    mixture = one.mixture(h)
    share, mean, std = mixture.share[0], mixture.mean[0], mixture.std[0]
    picked = (rng.random((len(share), 1)) > np.cumsum(share, axis=1)).sum(axis=1).clip(max=share.shape[1] - 1)
    rows = np.arange(len(share))
    result: FloatArray = mean[rows, picked] + std[rows, picked] * rng.standard_normal(len(share))
    return result
