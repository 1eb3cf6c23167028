"""The attention that training uses on a processor is attention."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from export.house.attention import causal_attention


@pytest.mark.parametrize("places", [1, 7, 96, 512, 513])
def test_it_equals_the_kernel_forward_and_back(places: int) -> None:
    """Outputs and gradients are those of PyTorch's kernel, with keys shared by two heads, on both paths."""
    generator = torch.Generator().manual_seed(places)
    query = torch.randn(2, 4, places, 8, generator=generator, requires_grad=True)
    key, value = (torch.randn(2, 2, places, 8, generator=generator, requires_grad=True) for _ in range(2))
    wanted = scaled_dot_product_attention(query, key, value, is_causal=True, scale=0.3, enable_gqa=True)
    made, _ = causal_attention(torch.nn.Identity(), query, key, value, None, scaling=0.3)
    torch.testing.assert_close(made.transpose(1, 2), wanted, atol=1e-5, rtol=1e-4)
    direction = torch.randn(wanted.shape, generator=generator)
    of_kernel = torch.autograd.grad((wanted * direction).sum(), (query, key, value))
    of_products = torch.autograd.grad((made.transpose(1, 2) * direction).sum(), (query, key, value))
    torch.testing.assert_close(of_products, of_kernel, atol=1e-5, rtol=1e-4)
