"""Splits one training step over worker processes: each takes part of the batch, the gradients are added.

The sum is the gradient of the whole batch, so the number of workers changes speed and rounding, nothing else.
Processes instead of threads: they meet once a step and not once an operator, which matters on a busy machine.
Knows nothing of the model but its parameters.
"""

import multiprocessing
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor


class Workers:
    """The place of this process among the workers; alone, every method is a plain pass."""

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank, self.count = rank, count

    def share(self, batch: Sequence[int]) -> Sequence[int]:
        """Return this worker's part of a batch; every part of a batch of `count` or more has something."""
        return batch[self.rank :: self.count]

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Add the workers' tensors, in place, in one message."""
        if self.count == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        at = 0
        for tensor in tensors:
            tensor.copy_(flat[at : at + tensor.numel()].view_as(tensor))
            at += tensor.numel()


def run_workers(count: int, work: Callable[[Workers], None]) -> None:
    """Run `work` in so many processes forked from this one, and wait for all.

    Raises: RuntimeError when a worker fails.
    """
    if count == 1:
        work(Workers())
        return
    with tempfile.TemporaryDirectory() as folder:
        context = multiprocessing.get_context("fork")  # the encoded corpus is shared, not copied
        meeting = f"file://{Path(folder) / 'meeting'}"
        made = [context.Process(target=_worker, args=(rank, count, meeting, work)) for rank in range(count)]
        for process in made:
            process.start()
        for process in made:
            process.join()
    if any(process.exitcode for process in made):
        raise RuntimeError("a training worker failed; its message is above")


def _worker(rank: int, count: int, meeting: str, work: Callable[[Workers], None]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=count)
    try:
        work(Workers(rank, count))
    finally:
        dist.destroy_process_group()
