"""The normalisation that training uses is the model's own."""

import torch
from torch import nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from export.house.norm import fuse_norms


def test_it_equals_the_written_out_one_forward_and_back() -> None:
    """Outputs and both gradients are those of transformers, with weights that are not one."""
    generator = torch.Generator().manual_seed(1)
    model = nn.Sequential(LlamaRMSNorm(16, eps=1e-5))
    nn.init.uniform_(model[0].weight, 0.5, 2, generator=generator)
    states = torch.randn(2, 7, 16, generator=generator, requires_grad=True)
    direction = torch.randn(2, 7, 16, generator=generator)

    def forward_and_back() -> tuple[torch.Tensor, ...]:
        made = model(states)
        return made, *torch.autograd.grad((made * direction).sum(), (states, model[0].weight))

    wanted = forward_and_back()
    fuse_norms(model)
    assert "forward" in vars(model[0])
    torch.testing.assert_close(forward_and_back(), wanted, atol=1e-6, rtol=1e-5)
