"""The Muon optimizer: momentum whose matrices are made orthogonal before each step.

torch.optim.Muon iterates in bfloat16, which processors without bfloat16 instructions emulate very slowly;
here the caller decides. Knows nothing of the model: the caller picks the matrices.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from export.house.parallel import Workers

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
        workers: Workers | None = None,
    ) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.dtype, self.workers = dtype, workers or Workers()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        """Move every matrix one step; a closure is not supported and ignored by design of this trainer.

        Matrices of one shape are made orthogonal together: fewer and larger products.
        Each worker does its part of them.
        """
        del closure
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    alike[matrix.shape].append(matrix)
            for shape, matrices in alike.items():
                ahead = torch.stack([self._ahead(matrix, group["momentum"]) for matrix in matrices])
                updates = self._orthogonal(ahead.to(self.dtype))
                rate = group["lr"] * _MATCH_ADAMW * max(shape) ** 0.5
                for matrix, update in zip(matrices, updates, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"])
                    matrix.add_(update, alpha=-rate)

    def _orthogonal(self, matrices: Tensor) -> Tensor:
        mine = slice(self.workers.rank, None, self.workers.count)
        made = torch.zeros_like(matrices)
        made[mine] = orthogonal(matrices[mine])
        self.workers.add([made])
        return made

    def _ahead(self, matrix: Tensor, momentum: float) -> Tensor:
        """The gradient with Nesterov's momentum."""
        state, gradient = self.state[matrix], matrix.grad
        assert gradient is not None
        if not state:
            state["velocity"] = torch.zeros_like(matrix)
        velocity = state["velocity"].mul_(momentum).add_(gradient)
        return gradient.add(velocity, alpha=momentum)


def orthogonal(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Return about the nearest matrices with orthonormal rows or columns, by Newton-Schulz iterations.

    Shapes: [..., M, N] -> [..., M, N].
    """
    a, b, c = _COEFFICIENTS
    x = matrices / (matrices.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    for _ in range(iterations):
        gram = x @ x.mT  # [..., M, M], M the shorter side
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x
