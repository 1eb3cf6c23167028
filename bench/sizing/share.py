"""A share of this machine's processor as Lambda gives it: a quota of time over the cores that are seen.

Lambda gives processor time in proportion to memory, a whole vCPU at 1,769 MiB; a function sees two cores even
where it gets a part of one. Knows cgroups, version 1 and 2.
Source: https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from handler.prices import MIB_PER_VCPU

PERIOD_US = 20_000
ROOT = Path("/sys/fs/cgroup")
NAME = "dormouse-sizing"


class NoQuota(Exception):
    """This machine does not let us limit a process's time."""


def vcpus(memory_mib: int) -> float:
    """Processor share of a function of this size."""
    return memory_mib / MIB_PER_VCPU


@contextmanager
def quota(share: float) -> Iterator[Path]:
    """A cgroup of so many cores; yields the file that takes its processes' ids. Raises: NoQuota."""
    first = ROOT / "cpu" if (ROOT / "cpu").is_dir() else ROOT
    folder = first / NAME
    time_us = round(share * PERIOD_US)
    try:
        folder.mkdir(exist_ok=True)
        if first == ROOT:
            (folder / "cpu.max").write_text(f"{time_us} {PERIOD_US}")
        else:
            (folder / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (folder / "cpu.cfs_quota_us").write_text(str(time_us))
    except OSError as error:
        raise NoQuota(f"{folder}: {error.strerror}") from error
    try:
        yield folder / "cgroup.procs"
    finally:
        folder.rmdir()


def cores() -> int:
    """Cores that a process here may use."""
    return len(os.sched_getaffinity(0))
