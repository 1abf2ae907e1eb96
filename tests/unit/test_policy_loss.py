"""Drawing and the policy's losses in compiled code: as in torch."""

from __future__ import annotations

import pytest
import torch

from agent.policy import MASKED
from agent.policy_loss import draw, log_probability_and_entropy


def _logits(rows: int, actions: int) -> torch.Tensor:
    """With some that are masked, stay never."""
    rng = torch.Generator().manual_seed(rows)
    logits = 3.0 * torch.randn(rows, actions, generator=rng)
    masked = torch.rand(rows, actions, generator=rng) < 0.3
    masked[:, 0] = False
    return logits.masked_fill(masked, float(MASKED))


def _in_torch(logits: torch.Tensor, actions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    logs = torch.log_softmax(logits, dim=-1)
    return logs.gather(-1, actions.unsqueeze(-1)).squeeze(-1), -(logs.exp() * logs).sum(dim=-1)


@pytest.mark.parametrize(("rows", "actions"), [(1, 1), (5, 7), (40, 129)])
def test_values_and_derivatives_are_those_of_torch(rows: int, actions: int) -> None:
    logits = _logits(rows, actions).requires_grad_()
    taken = draw(logits, torch.Generator().manual_seed(1))
    weights = torch.randn(2, rows, generator=torch.Generator().manual_seed(2))
    found, expected = log_probability_and_entropy(logits, taken), _in_torch(logits, taken)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    gradients = [torch.autograd.grad((weights[0] * a + weights[1] * b).sum(), logits)[0] for a, b in (found, expected)]
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-4)


def test_actions_are_drawn_as_often_as_they_are_likely() -> None:
    logits = _logits(1, 6)
    rows = 40_000
    drawn = draw(logits.expand(rows, -1), torch.Generator().manual_seed(4))
    share = torch.bincount(drawn, minlength=6) / rows
    likely = torch.softmax(logits[0], dim=-1)
    assert (share[likely == 0.0] == 0.0).all()
    torch.testing.assert_close(share, likely, atol=4 * 0.5 / rows**0.5, rtol=0)


def test_the_same_generator_draws_the_same() -> None:
    logits = _logits(64, 33)
    one, other = (draw(logits, torch.Generator().manual_seed(9)) for _ in range(2))
    assert one.equal(other)
