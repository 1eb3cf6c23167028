"""Which row counts of a quantized product give the bits of a larger call: `python -m bench.rows`.

Owns the one-operator graph and the table of `docs/LOG.md`. Knows no model: what a bundle does is measured
when it is exported, this tells why. To be run on every instruction set that is supported.
"""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from handler.engine.cpu import instruction_set

INPUTS, OUTPUTS = 768, 256  # K, N; every block divides K, as it does in what is exported
ROWS = 130
COUNTS = (*range(1, 18), 32, 33, 64, 65, 127, 128, 129)
ODD = [count for count in COUNTS if count % 2]
FORMATS = (
    *itertools.product((4, 8), (16, 32, 64, 128, 256), (4, 0)),
    *itertools.product((2,), (64, 128), (4,)),
)  # bits, block, accuracy level


def main() -> None:
    """Print the table."""
    print(f"{instruction_set()}, ONNX Runtime {onnxruntime.__version__}, K = {INPUTS}, N = {OUTPUTS}\n")
    print("| bits | block | accuracy level | row counts whose rows differ | largest difference |")
    print("|---|---|---|---|---|")
    for bits, block, level in FORMATS:
        found = _differences(bits, block, level)
        counts = "every odd one" if list(found) == ODD else ", ".join(map(str, found)) or "none"
        print(f"| {bits} | {block} | {level} | {counts} | {max(found.values(), default=0):.2g} |", flush=True)


def _differences(bits: int, block: int, level: int) -> dict[int, float]:
    """For each row count whose rows differ from those of a call of all: the largest difference."""
    rows = np.random.default_rng(0).normal(size=(ROWS, INPUTS)).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(_graph(bits, block, level), options, ["CPUExecutionProvider"])
    whole = session.run(None, {"a": rows})[0]
    worst = {
        count: float(np.abs(session.run(None, {"a": rows[:count]})[0] - whole[:count]).max())
        for count in COUNTS
    }
    return {count: difference for count, difference in worst.items() if difference}


def _graph(bits: int, block: int, level: int) -> bytes:
    random = np.random.default_rng(1)
    blocks = -(-INPUTS // block)
    codes = random.integers(0, 256, (OUTPUTS, blocks, block * bits // 8)).astype(np.uint8)
    scales = random.uniform(0.01, 0.02, (OUTPUTS, blocks)).astype(np.float32)
    attributes = {"K": INPUTS, "N": OUTPUTS, "bits": bits, "block_size": block, "accuracy_level": level}
    node = helper.make_node("MatMulNBits", ["a", "b", "s"], ["y"], domain="com.microsoft", **attributes)
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, ["rows", INPUTS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", OUTPUTS])],
        [numpy_helper.from_array(codes, "b"), numpy_helper.from_array(scales, "s")],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return onnx.ModelProto.SerializeToString(model)


if __name__ == "__main__":
    main()
