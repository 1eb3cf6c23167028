"""GPT-2: learned positions, LayerNorm, biases everywhere, tanh GELU, matrices stored transposed (Conv1D)."""

from __future__ import annotations

from export.config import Config
from export.errors import ExportError
from export.graph.facts import Attention, Decoder, Family, Linear, Norm, Part, Tensors

BLOCK = "transformer.h.{layer}."


def _conv1d(name: str) -> Linear:
    return Linear((f"{BLOCK}{name}.weight",), transposed=True).with_biases()


TENSORS = Tensors(
    embedding="transformer.wte.weight",
    positions="transformer.wpe.weight",
    attention=Part(
        norm=Norm(BLOCK + "ln_1.weight", BLOCK + "ln_1.bias"),
        input=_conv1d("attn.c_attn"),
        output=_conv1d("attn.c_proj"),
    ),
    mlp=Part(
        norm=Norm(BLOCK + "ln_2.weight", BLOCK + "ln_2.bias"),
        input=_conv1d("mlp.c_fc"),
        output=_conv1d("mlp.c_proj"),
    ),
    final_norm=Norm("transformer.ln_f.weight", "transformer.ln_f.bias"),
    head=Linear(("lm_head.weight",)),
    ignored=("*.attn.bias", "*.attn.masked_bias"),  # the causal mask, stored by old versions
    prefix="transformer.",
)


def read(config: Config) -> Decoder:
    """The facts of a GPT-2 config."""
    config.only("activation_function", ("gelu_new", "gelu_pytorch_tanh"), "gelu_new")
    config.only("scale_attn_weights", (True,), True)
    config.only("scale_attn_by_inverse_layer_idx", (False,), False)
    config.only("add_cross_attention", (False,), False)
    hidden, heads = config.integer("n_embd"), config.integer("n_head")
    if hidden % heads:
        raise ExportError(f"{config.path}: n_head: {heads} does not divide n_embd {hidden}")
    return Decoder(
        heads=heads,
        kv_heads=heads,
        head_dim=hidden // heads,
        hidden=hidden,
        intermediate=config.integer("n_inner", 4 * hidden),
        vocabulary=config.integer("vocab_size"),
        context_tokens=config.integer("n_positions", 1024),
        norm="layer",
        norm_epsilon=config.number("layer_norm_epsilon", 1e-5),
        activation="gelu_tanh",
        gated=False,
        tied=config.flag("tie_word_embeddings", True),
        attention=(Attention(rope=None),) * config.integer("n_layer"),
        tensors=TENSORS,
    )


FAMILY = Family("gpt2", ("GPT2LMHeadModel",), read)
