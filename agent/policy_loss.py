"""Drawing actions, and log probability and entropy of a softmax over many actions, as functions of torch.

Compiled (`agent.softmax`): several times faster than in torch, which they are held to by tests.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from agent.softmax import draw_actions, policy_derivatives, policy_losses


def draw(logits: Tensor, rng: torch.Generator) -> Tensor:
    """One action per row [B, A] of the softmax; a masked action has probability 0 and is never drawn."""
    uniform = torch.rand(len(logits), generator=rng, dtype=torch.float64)
    actions = torch.empty(len(logits), dtype=torch.int64)
    room = np.empty(logits.shape[1], dtype=np.float32)
    draw_actions(logits.detach().contiguous().numpy(), uniform.numpy(), room, actions.numpy())
    return actions


def log_probability_and_entropy(logits: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """([N], [N]) of the softmax of logits [N, A]; masked actions add nothing to either."""
    found: tuple[Tensor, Tensor] = _Softmax.apply(logits, actions)  # type: ignore[no-untyped-call]
    return found


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        rows, taken = logits.detach().contiguous().numpy(), actions.contiguous().numpy()
        probabilities = np.empty_like(rows)
        chosen, entropies, norms = (np.empty(len(rows), dtype=np.float32) for _ in range(3))
        policy_losses(rows, taken, probabilities, chosen, entropies, norms)
        ctx.found = rows, taken, probabilities, entropies, norms
        return torch.from_numpy(chosen), torch.from_numpy(entropies)

    @staticmethod
    def backward(ctx: Any, *derivatives: Tensor) -> tuple[Tensor, None]:
        d_chosen, d_entropies = (np.ascontiguousarray(d.numpy(), dtype=np.float32) for d in derivatives)
        rows, taken, probabilities, entropies, norms = ctx.found
        d_logits = np.empty_like(rows)
        policy_derivatives(rows, taken, probabilities, entropies, norms, d_chosen, d_entropies, d_logits)
        return torch.from_numpy(d_logits), None
