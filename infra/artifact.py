"""The deployable artifact: locked dependencies for Lambda's Python, pruned, with the handler and one bundle.

    python -m infra.artifact --arch x86_64 --bundle models/house/bundle --out DIR

Needs pip and no more: neither Lambda's Python version nor its architecture nor a container engine. The same
inputs give the same files, byte for byte. Knows nothing of SAM, which calls it by the target build-Function.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
LOCK = PROJECT / "requirements" / "function.txt"
PYTHON_VERSION = "3.13"
WHEEL_ARCH = {"x86_64": "x86_64", "arm64": "aarch64"}
# Amazon Linux 2023, which Lambda's python3.13 runs on, has glibc 2.34.
WHEEL_PLATFORMS = ("manylinux_2_31", "manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")

# Source: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
UNZIPPED_LIMIT_BYTES = 250 << 20

# Globs under the dependencies. What is cut is never imported on our paths; end-to-end tests run the result.
CUT = (
    "bin",  # scripts, with the build machine's paths in them
    "**/__pycache__",  # of the wrong Python version
    "**/*.py[iox]",
    "**/*.pxd",
    "**/*.a",
    "**/tests",
    "numpy/_core/include",
    "numpy/f2py",
    "onnxruntime/backend",
    "onnxruntime/datasets",
    "onnxruntime/quantization",
    "onnxruntime/tools",
    "onnxruntime/transformers",
    # The same code once more, for C; the Python module does not link it. *_providers_shared.so has to stay.
    "onnxruntime/capi/libonnxruntime.so*",
)
KEPT_OF_DIST_INFO = ("METADATA", "entry_points.txt", "licenses", "LICENSE*", "COPYING*", "NOTICE*")
HANDLER_SUFFIXES = (".py", ".html", ".sh")
# HTTP on a developer's machine and in containers, which needs uvicorn and judges keys itself; the zip has an
# authorizer in front of it.
HANDLER_LEFT_OUT = (
    "access.py",
    "container.py",
    "doors.py",
    "gateway.py",
    "key_file.py",
    "keys.py",
    "local.py",
    "platforms.py",
    "terminal.py",
)


def install(arch: str, out: Path, lock: Path = LOCK, *, hashes: bool = True) -> None:
    """Unpack the locked wheels, hashes checked, for Lambda's Python on `arch`."""
    platforms = [f"--platform={name}_{WHEEL_ARCH[arch]}" for name in WHEEL_PLATFORMS]
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install"),
            *("--quiet", "--disable-pip-version-check", "--no-compile"),
            *("--no-deps", "--only-binary=:all:", "--implementation=cp"),
            *(["--require-hashes"] if hashes else []),
            *(f"--python-version={PYTHON_VERSION}", *platforms, f"--target={out}", f"--requirement={lock}"),
        ],
        check=True,
    )


def remove(paths: Iterable[Path]) -> None:
    """Delete files and folders; one inside another may be gone already."""
    for path in list(paths):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def prune(out: Path) -> None:
    """Cut what Lambda never reads: other tools, tests, types, headers, and pip's own records."""
    for pattern in CUT:
        remove(out.glob(pattern))
    for folder in out.glob("*.dist-info"):
        kept = {path for pattern in KEPT_OF_DIST_INFO for path in folder.glob(pattern)}
        remove(path for path in folder.iterdir() if path not in kept)


def copy_handler(out: Path) -> None:
    """The function's own code, page included."""
    source = PROJECT / "handler"
    for path in sorted(source.rglob("*")):
        if path.suffix in HANDLER_SUFFIXES and path.name not in HANDLER_LEFT_OUT:
            target = out / "handler" / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)


def settle(out: Path) -> None:
    """Give every file the same age and the modes that Lambda needs, so that equal inputs make equal zips."""
    for path in [out, *out.rglob("*")]:
        executable = path.is_dir() or path.suffix == ".sh"
        path.chmod(0o755 if executable else 0o644)
        os.utime(path, (315532800, 315532800))  # 1980-01-01, the first day that a zip file knows


def size_bytes(folder: Path) -> int:
    """What the folder's files add up to."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def build(arch: str, bundle: Path, out: Path) -> None:
    """Write the whole artifact into `out`.

    Raises: SystemExit with one line when the bundle is missing or the artifact is too large for a zip.
    """
    if not (bundle / "bundle.json").is_file():
        raise SystemExit(
            f"artifact: no bundle in {bundle} (bundle.json is missing); make one with `make bundle`"
        )
    out.mkdir(parents=True, exist_ok=True)
    remove(out.iterdir())
    install(arch, out)
    prune(out)
    dependencies = size_bytes(out)
    copy_handler(out)
    shutil.copytree(bundle, out / "bundle")
    settle(out)
    total = size_bytes(out)
    parts = {"unzipped": total, "dependencies": dependencies, "bundle": size_bytes(out / "bundle")}
    print(f"artifact for {arch}: " + ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in parts.items()))
    if total > UNZIPPED_LIMIT_BYTES:
        over = (total - UNZIPPED_LIMIT_BYTES) / 1e6
        raise SystemExit(
            f"artifact: {over:.1f} MB over Lambda's limit of 250 MiB unzipped; take a smaller bundle"
        )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m infra.artifact", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--arch", choices=sorted(WHEEL_ARCH), required=True, help="instruction set of the function"
    )
    parser.add_argument("--bundle", type=Path, required=True, help="folder of the model's bundle")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; what is in it is removed")
    options = parser.parse_args()
    build(options.arch, options.bundle, options.out)


if __name__ == "__main__":
    main()
