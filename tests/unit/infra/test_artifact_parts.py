"""The artifact's own steps on small trees: what is cut, what stays, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra import artifact


def tree(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_prune_cuts_what_lambda_never_reads(tmp_path: Path) -> None:
    """Tests, types, tools, caches, scripts and pip's records go; code, licences and metadata stay."""
    kept = {
        "onnxruntime/__init__.py",
        "onnxruntime/capi/libonnxruntime_providers_shared.so",
        "onnxruntime/capi/onnxruntime_pybind11_state.so",
        "onnxruntime-1.dist-info/METADATA",
        "numpy-2.dist-info/licenses/LICENSE.txt",
        "numpy/testing/__init__.py",
    }
    cut = {
        "bin/f2py",
        "numpy/tests/test_it.py",
        "numpy/_core/tests/data/x.csv",
        "numpy/__init__.pyi",
        "numpy/__pycache__/a.cpython-311.pyc",
        "onnxruntime/tools/x.py",
        "onnxruntime/transformers/y.py",
        "onnxruntime/capi/libonnxruntime.so.1.32.0",
        "onnxruntime-1.dist-info/RECORD",
    }
    artifact.prune(tree(tmp_path, *kept, *cut))
    assert names(tmp_path) == kept


def test_handler_is_copied_without_what_only_this_machine_needs(tmp_path: Path) -> None:
    """Runtime, wrapper and page are there; the local server and compiled files are not."""
    artifact.copy_handler(tmp_path)
    there = names(tmp_path)
    assert {"handler/function.py", "handler/runtime.py", "handler/runtime.sh", "handler/page.html"} <= there
    assert not {name for name in there if name.endswith(("local.py", ".pyc"))}


def test_settled_files_are_equal_whatever_their_past(tmp_path: Path) -> None:
    """Times and modes are the same for all; only folders and shell scripts can be executed."""
    tree(tmp_path, "a/b.py", "a/runtime.sh")
    (tmp_path / "a/b.py").chmod(0o700)
    artifact.settle(tmp_path)
    facts = {path.name: (path.stat().st_mode & 0o777, path.stat().st_mtime) for path in tmp_path.rglob("*")}
    assert facts == {"a": (0o755, 315532800), "b.py": (0o644, 315532800), "runtime.sh": (0o755, 315532800)}


def test_a_missing_bundle_is_one_clear_line(tmp_path: Path) -> None:
    """Nothing is installed, and the message names the folder and the way out."""
    with pytest.raises(SystemExit, match=r"no bundle in .*bundle.json is missing.*make bundle"):
        artifact.build("x86_64", tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
