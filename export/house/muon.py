"""The Muon optimizer: momentum whose matrices are made orthogonal before each step.

torch.optim.Muon iterates in bfloat16, which processors without bfloat16 instructions emulate very slowly;
here the caller decides. Knows nothing of the model: the caller picks the matrices.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # quintic with a steep slope at zero, by Keller Jordan
_MATCH_ADAMW = 0.2  # update size of AdamW, so that both optimizers share a learning rate (Moonshot AI, 2025)


class Muon(torch.optim.Optimizer):
    """Muon for two-dimensional weights.

    Source: Keller Jordan, "Muon: an optimizer for hidden layers in neural networks" (2024).
    """

    def __init__(
        self,
        matrices: Iterable[Tensor],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.05,
        *,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        """Move every matrix one step; a closure is not supported and ignored by design of this trainer."""
        del closure
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if not state:
                    state["velocity"] = torch.zeros_like(matrix)
                velocity = state["velocity"].mul_(group["momentum"]).add_(matrix.grad)
                ahead = matrix.grad.add(velocity, alpha=group["momentum"])  # Nesterov
                scale = _MATCH_ADAMW * max(matrix.shape) ** 0.5
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(orthogonal(ahead.to(self.dtype)), alpha=-group["lr"] * scale)


def orthogonal(matrix: Tensor, iterations: int = 5) -> Tensor:
    """Return about the nearest matrix with orthonormal rows or columns, by Newton-Schulz iterations.

    Shapes: [M, N] -> [M, N].
    """
    a, b, c = _COEFFICIENTS
    x = matrix / (matrix.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(iterations):
        gram = x @ x.T  # [M, M], M the shorter side
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x
