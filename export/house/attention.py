"""Causal attention for training on a processor: two batched products, all scores held at once.

PyTorch's kernel for processors never holds all scores, which long rows need; for rows as short as a dialogue
its way back is up to six times slower than plain products (docs/LOG.md). Knows nothing of the model around.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

BATCHED_PRODUCTS = "batched_products"  # its name in transformers' registry
_LONGEST_PLACES = 512  # above it the kernel is as fast
_NEVER = -1e9


def causal_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    **_options: Any,
) -> tuple[Tensor, None]:
    """Return what every place reads of itself and the places before it, as transformers calls for it.

    Padding must stand on the right; a mask is not looked at.

    Shapes: query [B, H, T, D], key and value [B, K, T, D] -> [B, T, H, D].
    """
    del module, attention_mask
    batch, heads, places, dim = query.shape
    if places > _LONGEST_PLACES:
        kernel = scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling, enable_gqa=True
        )
        return kernel.transpose(1, 2), None
    kv_heads = key.shape[1]
    later = torch.full((places, places), _NEVER, dtype=query.dtype, device=query.device).triu(1)
    mask = later.repeat(heads // kv_heads, 1)  # [G * T, T]: the heads that share a key stand below each other
    grouped = query.reshape(batch * kv_heads, -1, dim)  # [B * K, G * T, D]
    keys, values = (part.reshape(batch * kv_heads, places, dim) for part in (key, value))
    scores = torch.baddbmm(mask, grouped, keys.transpose(1, 2), alpha=scaling)  # [B * K, G * T, T]
    read = torch.bmm(scores.softmax(-1), values)
    return read.view(batch, heads, places, dim).transpose(1, 2), None


AttentionInterface.register(BATCHED_PRODUCTS, causal_attention)
