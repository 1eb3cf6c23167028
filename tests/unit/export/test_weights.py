"""Tensors read from safetensors files equal what was written, and a damaged file is named."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from export.errors import ExportError
from export.weights import CHUNK_BYTES, Weights


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_kind_of_float_is_widened_exactly(dtype: torch.dtype, tmp_path: Path) -> None:
    """float32 values are those of the stored ones, bit for bit."""
    tensor = torch.randn(7, 33, generator=torch.Generator().manual_seed(0)).to(dtype)
    save_file({"w": tensor}, tmp_path / "model.safetensors")
    with Weights(tmp_path) as weights:
        assert np.array_equal(weights.read("w"), tensor.float().numpy())


def test_chunks_laid_end_to_end_are_the_tensor(tmp_path: Path) -> None:
    """A tensor larger than a chunk comes in several, none above the bound; as a whole it is the same."""
    tensor = torch.randn(3, CHUNK_BYTES // 8)
    save_file({"w": tensor}, tmp_path / "model.safetensors")
    with Weights(tmp_path) as weights:
        chunks = list(weights.chunks("w"))
        assert np.array_equal(weights.read("w"), tensor.numpy())
    assert len(chunks) == 2
    assert np.array_equal(np.concatenate(chunks), tensor.numpy())


def test_shards_are_one_set_of_tensors(tmp_path: Path) -> None:
    """An index with two files gives the tensors of both."""
    save_file({"a": torch.ones(2)}, tmp_path / "model-1.safetensors")
    save_file({"b": torch.zeros(3)}, tmp_path / "model-2.safetensors")
    write_index(tmp_path, {"a": "model-1.safetensors", "b": "model-2.safetensors"})
    with Weights(tmp_path) as weights:
        assert sorted(weights) == ["a", "b"]
        assert weights.read("b").shape == (3,)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    """The message has the shard's path."""
    write_index(tmp_path, {"a": "model-1.safetensors"})
    with pytest.raises(ExportError, match=r"model-1\.safetensors: missing shard"):
        Weights(tmp_path)


def test_a_tensor_in_none_of_the_shards_is_named(tmp_path: Path) -> None:
    """An index that promises more than its files hold is refused."""
    save_file({"a": torch.ones(2)}, tmp_path / "model-1.safetensors")
    write_index(tmp_path, {"a": "model-1.safetensors", "b": "model-1.safetensors"})
    with pytest.raises(ExportError, match="tensor 'b' is in none of the shards"):
        Weights(tmp_path)


@pytest.mark.parametrize("cut", [4, 60, 1])
def test_a_truncated_file_is_refused(cut: int, tmp_path: Path) -> None:
    """Whether the header or the data is cut, the file is named."""
    file = tmp_path / "model.safetensors"
    save_file({"w": torch.ones(64)}, file)
    content = file.read_bytes()
    file.write_bytes(content[:cut] if cut > 1 else content[:-1])
    with pytest.raises(ExportError, match=r"model\.safetensors"):
        Weights(tmp_path)


SOUND = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ([], "the safetensors header must be a JSON object"),
        ({"w": []}, "tensor 'w': must be an object with dtype, shape and two data_offsets"),
        ({"w": {"shape": [2], "data_offsets": [0, 8]}}, "tensor 'w': must be an object with dtype"),
        ({"w": {**SOUND, "shape": None}}, "tensor 'w': must be an object with dtype"),
        ({"w": {**SOUND, "data_offsets": [0]}}, "tensor 'w': must be an object with dtype"),
        ({"w": {**SOUND, "shape": [-1, -2]}}, "tensor 'w' is cut short or misshapen"),
        ({"w": {**SOUND, "data_offsets": [-8, 0]}}, "tensor 'w' is cut short or misshapen"),
    ],
)
def test_a_damaged_header_that_is_still_json_is_refused(header: object, said: str, tmp_path: Path) -> None:
    """The file is named, and the tensor."""
    text = json.dumps(header).encode()
    (tmp_path / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    with pytest.raises(ExportError, match=rf"model\.safetensors: {said}"):
        Weights(tmp_path)


def test_an_integer_tensor_is_refused_when_it_is_read(tmp_path: Path) -> None:
    """Tensors that nothing reads may be of any kind; one that is read must be a float."""
    save_file({"w": torch.ones(4, dtype=torch.int8)}, tmp_path / "model.safetensors")
    with Weights(tmp_path) as weights, pytest.raises(ExportError, match="tensors of I8 are not read"):
        weights.read("w")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused_by_its_tensor(
    number: float, dtype: torch.dtype, tmp_path: Path
) -> None:
    """Whole or in chunks: no rounding and no measure could make anything of it."""
    tensor = torch.ones(3, 5, dtype=dtype)
    tensor[1, 2] = number
    save_file({"sound": torch.ones(4), "w": tensor}, tmp_path / "model.safetensors")
    with Weights(tmp_path) as weights:
        assert weights.read("sound").all()
        with pytest.raises(ExportError, match=r"model\.safetensors: tensor 'w' holds numbers that are"):
            weights.read("w")
        with pytest.raises(ExportError, match="tensor 'w' holds numbers"):
            list(weights.chunks("w"))


def test_a_folder_without_weights_says_what_is_looked_for(tmp_path: Path) -> None:
    """Pickled weights are not an alternative."""
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ExportError, match="only safetensors weights are read"):
        Weights(tmp_path)


def write_index(folder: Path, weight_map: dict[str, str]) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
