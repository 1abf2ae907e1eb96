"""How much of a forecast is the twin's: what is found where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.learned.scoring import Predicted, score, used
from twin.learned.shares import BELIEVED, GRID, Shares, mixed
from twin.state import FloatArray

SLOTS = 60


def walks(seed: int, *, rows: int = 3) -> tuple[FloatArray, FloatArray]:
    """What persistence says of a random walk, and what comes, [SLOTS, rows]."""
    course = np.cumsum(np.random.default_rng(seed).standard_normal((SLOTS + 1, rows)), axis=0)
    return course[:-1], course[1:]


def found(persistence: FloatArray, twin: FloatArray, observed: FloatArray, *, prior: float = 0.0) -> FloatArray:
    shares = Shares(prior)
    for row in zip(persistence, twin, observed, strict=True):
        shares.update(*row)
    return shares.of(observed.shape[1])


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_the_share_that_the_truth_was_made_with_is_found(share: float) -> None:
    persistence, course = walks(1)
    twin = persistence + 1.0 + course
    np.testing.assert_array_equal(found(persistence, twin, mixed(np.asarray(share), persistence, twin)), share)


def test_a_twin_of_no_use_is_not_heard_whatever_was_believed() -> None:
    persistence, observed = walks(2)
    wrong = 2.0 * persistence - observed  # always the other way
    np.testing.assert_array_equal(found(persistence, wrong, observed, prior=1.0), 0.0)
    np.testing.assert_array_equal(found(persistence, persistence, observed), 0.0)


def test_a_row_leaves_the_others_by_what_was_read_of_itself() -> None:
    persistence, observed = walks(3)
    twin = observed.copy()
    twin[:, 1] = 2.0 * persistence[:, 1] - observed[:, 1]
    np.testing.assert_array_equal(found(persistence, twin, observed), [1.0, 0.0, 1.0])
    unread = observed.copy()
    unread[:, 1] = np.nan
    np.testing.assert_array_equal(found(persistence, twin, unread), 1.0)


def test_what_was_believed_counts_as_so_many_slots() -> None:
    persistence, _ = walks(4, rows=1)
    shares, slots = Shares(0.0), 0
    while shares.of(1)[0] == 0.0:
        shares.update(persistence[slots], persistence[slots] + 1.0, persistence[slots] + 1.0)
        slots += 1
    assert slots == int(BELIEVED) + 1
    assert Shares(0.5).of(2).tolist() == [0.5, 0.5]


def test_newer_slots_count_more() -> None:
    persistence, observed = walks(5)
    twin = observed.copy()
    wrong = SLOTS * 4 // 5  # so many slots the other way, then right
    twin[:wrong] = 2.0 * persistence[:wrong] - observed[:wrong]
    steady = Shares(0.0, memory=1.0)
    fading = Shares(0.0, memory=0.9)
    for shares in (steady, fading):
        for row in zip(persistence, twin, observed, strict=True):
            shares.update(*row)
    assert fading.together == 1.0
    assert steady.together == 0.0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.0, 1.0), st.floats(0.0, 4.0))
def test_shares_lie_between_and_know_nothing_of_what_comes(seed: int, prior: float, noise: float) -> None:
    persistence, observed = walks(seed)
    twin = observed + noise * np.random.default_rng(seed).standard_normal(observed.shape)
    p = Predicted(observed, twin, np.ones_like(twin), persistence, persistence, persistence)
    said = used(p, 2, prior=prior)
    low, high = np.minimum(persistence, twin), np.maximum(persistence, twin)
    assert ((said >= low - 1e-9) & (said <= high + 1e-9)).all()
    later = observed.copy()
    later[30:] += 5.0
    changed = Predicted(later, twin, p.std, persistence, persistence, persistence)
    np.testing.assert_array_equal(used(changed, 2, prior=prior)[:32], said[:32])


def test_noise_is_hardly_worse_than_persistence_and_knowledge_far_better() -> None:
    ratios = []
    for seed in range(8):
        persistence, observed = walks(seed)
        noise = persistence + np.random.default_rng(seed).standard_normal(observed.shape)
        for twin in (noise, observed + 0.3 * (noise - persistence)):
            p = Predicted(observed, twin, np.ones_like(twin), persistence, persistence, persistence)
            row = score("traffic", 1, [p])
            ratios.append((row.ratio, row.alone_ratio))
    useless, useful = np.array(ratios[::2]), np.array(ratios[1::2])
    assert useless[:, 1].mean() > 1.3
    assert useless[:, 0].mean() < 1.03
    assert useful[:, 0].mean() < 0.5
    assert GRID[0] == 0.0
