"""The works that `vnftwin bench` measures are those of the program, on a small network."""

from __future__ import annotations

import pytest

from agent.speed import PRODUCTS, SEEN, TRAINING, figures, measured, share
from twin.scenario_file import load_scenario

pytestmark = pytest.mark.learning


def test_every_figure_has_a_value_and_training_is_below_its_bound() -> None:
    found = {figure.name: value for figure, value in measured(figures(load_scenario("small")), times=1)}
    assert len(found) == 8
    assert all(value > 0 for value in found.values())
    assert 0.05 < share(found[TRAINING], found[SEEN], found[PRODUCTS]) < 1.0
