"""Loading: only what was verified, and nothing that is not needed."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from handler.engine import load
from handler.engine.bundle import sealed
from handler.errors import BundleError


@pytest.fixture
def bundle(tiny_bundle: Callable[..., Path], tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(tiny_bundle("llama", "int4"), tmp_path / "bundle"))


def fields_of(bundle: Path) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads((bundle / "bundle.json").read_text())
    del fields["seal"]
    return fields


def rewrite(bundle: Path, **changes: Any) -> None:
    """Change the manifest and seal it again, as another version of the export might have."""
    (bundle / "bundle.json").write_bytes(sealed({**fields_of(bundle), **changes}))


def files_of(bundle: Path) -> list[str]:
    return ["bundle.json", *sorted(fields_of(bundle)["files"])]


def test_five_lines_answer(tiny_bundle: Callable[..., Path]) -> None:
    """Load, chat, and the text comes in pieces with a reason at the end."""
    stream = load(tiny_bundle("llama", "int4")).chat(
        [{"role": "user", "content": "Hello!"}], max_tokens=12, temperature=0
    )
    text = "".join(piece.text for piece in stream)
    assert text
    assert stream.stop_reason in ("stop", "length")


def test_the_card_is_the_bundles_own(tiny_bundle: Callable[..., Path]) -> None:
    """What the engine tells of its model is the bundle's card, to the letter."""
    bundle = tiny_bundle("llama", "int4")
    assert load(bundle).card == (bundle / "MODEL_CARD.md").read_text(encoding="utf-8")


def test_any_flipped_bit_in_any_file_is_refused(bundle: Path) -> None:
    """Six random bits in each file, one of the first and one of the last byte: the error names the file."""
    random_ = random.Random(0)
    for name in files_of(bundle):
        path = bundle / name
        good = path.read_bytes()
        for at in (0, len(good) - 1, *(random_.randrange(len(good)) for _ in range(6))):
            bad = bytearray(good)
            bad[at] ^= 1 << random_.randrange(8)
            path.write_bytes(bad)
            with pytest.raises(BundleError, match=name):
                load(bundle, threads=1)
        path.write_bytes(good)
    load(bundle, threads=1)


def test_a_truncated_longer_or_missing_file_is_refused(bundle: Path) -> None:
    """Whatever is wrong with a file, the error names it."""
    for name in files_of(bundle):
        path = bundle / name
        good = path.read_bytes()
        for bad in (b"", good[:-1], good[: len(good) // 2], good + b"\0"):
            path.write_bytes(bad)
            with pytest.raises(BundleError, match=name):
                load(bundle, threads=1)
        path.unlink()
        with pytest.raises(BundleError, match=rf"{name}: (missing|not found)"):
            load(bundle, threads=1)
        path.write_bytes(good)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format 2 is not supported"),
        ({"format": None}, "format None is not supported"),
        ({"context_tokens": "many"}, "context_tokens"),
        ({"surprise": 1}, "unknown field surprise"),
        ({"files": {}}, "not listed"),
    ],
    ids=str,
)
def test_a_wrong_manifest_is_refused(bundle: Path, change: dict[str, Any], message: str) -> None:
    """Another version, a wrong type, an unknown field, an empty list of files."""
    rewrite(bundle, **change)
    with pytest.raises(BundleError, match=message):
        load(bundle, threads=1)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_a_manifest_that_is_no_manifest_is_refused(bundle: Path, content: bytes) -> None:
    """Not JSON, or JSON of another shape: one line that names bundle.json."""
    (bundle / "bundle.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"bundle\.json"):
        load(bundle, threads=1)


def test_no_bundle_at_all_says_how_to_make_one(tmp_path: Path) -> None:
    """The first thing that goes wrong for a newcomer."""
    with pytest.raises(BundleError, match="make bundle"):
        load(tmp_path / "nowhere")


def test_a_manifest_that_names_other_tensors_than_the_graph_is_refused(bundle: Path) -> None:
    """Names are checked when loading, not when the first request comes."""
    rewrite(bundle, graph={**fields_of(bundle)["graph"], "past_key": "elsewhere.{layer}"})
    with pytest.raises(BundleError, match=r"elsewhere\.0"):
        load(bundle, threads=1)


def test_a_manifest_cannot_reach_out_of_its_folder(bundle: Path) -> None:
    """File names with `..` are refused even where the hash is right."""
    (bundle.parent / "outside").write_bytes(b"x")
    outside = {"sha256": hashlib.sha256(b"x").hexdigest(), "size_bytes": 1}
    rewrite(bundle, files={**fields_of(bundle)["files"], "../outside": outside})
    with pytest.raises(BundleError, match="outside the bundle"):
        load(bundle, threads=1)


def test_loading_imports_only_what_the_first_token_needs(tiny_bundle: Callable[..., Path]) -> None:
    """In a fresh process: no build-machine package, no AWS, no HTTP, no validation library."""
    program = (
        "import sys; from handler.engine import load; "
        f"next(iter(load({str(tiny_bundle('llama', 'int4'))!r}).chat([dict(role='user', content='Hi')]))); "
        "print(' '.join(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root
    )
    allowed = {"handler", "numpy", "onnxruntime", "tokenizers", "jinja2", "markupsafe"}
    imported = {name for name in done.stdout.split() if name not in sys.stdlib_module_names}
    site_hooks = {name for name in imported if name.startswith(("_", "sitecustomize", "distutils"))}
    assert imported - site_hooks <= allowed


def test_reading_a_manifest_imports_no_kernels() -> None:
    """`handler.engine.bundle` is for everybody: it costs neither numpy nor ONNX Runtime."""
    program = "import sys, handler.engine.bundle; print('numpy' in sys.modules, 'onnxruntime' in sys.modules)"
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout.split() == ["False", "False"]
