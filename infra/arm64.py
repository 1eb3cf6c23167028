"""python3.13 for arm64 on another machine: Debian's packages, unpacked, under QEMU's user-mode emulation.

    python -m infra.arm64 --out .venv/arm64

Leaves `bin/python`, which starts as any interpreter and finds what Lambda's runtime carries. Needs apt-get,
dpkg-deb and qemu-user; no rights, no container engine, and nothing is installed on this machine. Nothing
is deployed from here either, so that Debian's point releases may float. Knows nothing of the function.

Source: `-L` in https://www.qemu.org/docs/master/user/main.html: what is in the root hides this machine's own.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from infra.artifact import PROJECT, PYTHON_VERSION, install

LOCK = PROJECT / "requirements" / "lambda.txt"
SUITE, MIRROR = "trixie", "http://deb.debian.org/debian"  # its python3 is Lambda's
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
PACKAGES = (f"python{PYTHON_VERSION}-minimal", f"libpython{PYTHON_VERSION}-stdlib", "libstdc++6")

PROCESSOR = "neoverse-n1"  # Graviton2's, which Lambda has on arm64
CPUINFO = """\
processor\t: {number}
BogoMIPS\t: 243.75
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
CPU revision\t: 1

"""
"""What Linux says of that processor. QEMU before 8.1 shows the host's, on which ONNX Runtime crashes
while it is imported, and which gives the instruction set a wrong name."""


def qemu() -> str | None:
    """The emulator, where there is one."""
    return shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")


def missing() -> list[str]:
    """What this machine lacks, by the names of Debian's packages."""
    needed = {
        "apt": shutil.which("apt-get"),
        "dpkg": shutil.which("dpkg-deb"),
        "qemu-user": qemu(),
        "debian-archive-keyring": KEYRING.exists(),
    }
    return [package for package, found in needed.items() if not found]


def download(folder: Path) -> list[Path]:
    """Fetch the packages and all that they need, signatures checked, by an apt of its own in this folder."""
    for name in ("lists/partial", "archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "sources.list").write_text(f"deb [arch=arm64 signed-by={KEYRING}] {MIRROR} {SUITE} main\n")
    options = {
        "APT::Architecture": "arm64",
        "APT::Architectures::": "arm64",
        "APT::Sandbox::User": "",
        "Dir::State": folder,
        "Dir::State::lists": "lists",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder,
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Debug::NoLocking": "1",
    }
    apt = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in options.items())]
    subprocess.run([*apt, "update"], check=True)
    fetch = ["install", "--yes", "--no-install-recommends", "--download-only", *PACKAGES]
    subprocess.run([*apt, *fetch], check=True, stdout=subprocess.DEVNULL)
    return sorted((folder / "archives").glob("*.deb"))


def unpack(archives: list[Path], root: Path) -> None:
    """Lay the packages' files out as Debian does, and the processor's description beside them."""
    root.mkdir()
    for archive in archives:
        subprocess.run(["dpkg-deb", "--extract", archive, root], check=True)
    if not (root / "lib").exists():
        (root / "lib").symlink_to("usr/lib")
    (root / "proc").mkdir()
    processors = range(os.cpu_count() or 1)
    (root / "proc/cpuinfo").write_text("".join(CPUINFO.format(number=number) for number in processors))


def make(out: Path) -> None:
    """Make the whole folder anew; the interpreter comes last."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    root = out.resolve() / "root"
    unpack(download(out.resolve() / "apt"), root)
    shutil.rmtree(out / "apt")
    # Debian's own place for packages of the machine's owner.
    install("arm64", root / f"usr/local/lib/python{PYTHON_VERSION}/dist-packages", LOCK, hashes=False)
    interpreter = root / f"usr/bin/python{PYTHON_VERSION}"
    command = shlex.join([str(qemu()), "-cpu", PROCESSOR, "-L", str(root), str(interpreter)])
    (out / "bin").mkdir()
    (out / "bin/python").write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    (out / "bin/python").chmod(0o755)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m infra.arm64", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to make anew")
    parser.add_argument("--if-possible", action="store_true", help="where something is missing, only say so")
    options = parser.parse_args()
    if lacking := missing():
        line = f"arm64: no emulated python{PYTHON_VERSION} here; it takes Debian's {', '.join(lacking)}"
        if options.if_possible:
            print(line, file=sys.stderr)
            return
        raise SystemExit(line)
    make(options.out)


if __name__ == "__main__":
    main()
