"""Bits and bytes, read from real files."""

from bench.stored import onnx_facts, safetensors_facts


def test_the_facts_of_our_own_bundle(tiny_bundle, tiny_checkpoint):
    """The graph's own attributes give bits and block; every matrix of the checkpoint is counted once."""
    found = onnx_facts(tiny_bundle("llama", "int4") / "model.onnx")
    _, parameters = safetensors_facts(tiny_checkpoint("llama") / "model.safetensors")
    assert found.weights.startswith("int4, block ")
    assert found.head.startswith(("int4, block ", "fp32"))
    assert found.read_parameters == parameters
    assert found.read_bytes < 4 * parameters


def test_the_facts_of_an_fp32_graph(tiny_bundle):
    """Without quantization, four bytes a parameter."""
    found = onnx_facts(tiny_bundle("llama", "fp32") / "model.onnx")
    assert found.weights == found.head == "fp32"
    assert found.read_bytes == 4 * found.read_parameters
