"""Trains the model on the answers of the corpus, in steps that can be stopped and taken up again.

Owns the schedule, the run folder (`run.pt`, `losses.csv`) and the resuming: a resumed run sees the same
batches and ends with the same weights. Knows nothing of what the dialogues say.
"""

import csv
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import LlamaForCausalLM

from export.house.attention import BATCHED_PRODUCTS
from export.house.batches import IGNORED, Example, epoch_batches, stack
from export.house.epochs import Epochs
from export.house.muon import Muon
from export.house.norm import fuse_norms
from export.house.parallel import Workers

_HEAD_STEP = 256


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn: warm-up, a long plateau, a straight fall to the end.

    Until the fall begins a run is the same whatever its number of steps, so it can be made longer or shorter.
    Source: Hu et al., MiniCPM (2024).
    """

    steps: int
    batch_tokens: int = 32768
    peak_lr: float = 5e-3
    final_lr: float = 1e-4
    fall: float = 0.25  # part of the steps
    warmup_steps: int = 100
    clip_norm: float = 1.0
    seed: int = 7
    save_every_steps: int = 500
    measure_every_steps: int = 1000
    bfloat16: bool = False  # products in bfloat16, weights and sums in float32

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        if step < self.warmup_steps:
            return self.peak_lr * (step + 1) / self.warmup_steps
        left = min(1.0, (self.steps - step) / (self.fall * self.steps))
        return self.final_lr + (self.peak_lr - self.final_lr) * left

    def same_until(self, step: int, saved: Mapping[str, Any]) -> bool:
        """Tell whether a run of the saved schedule is, up to the step, also a run of this one."""
        mine = asdict(self)
        if saved == mine:
            return True
        before_fall = step <= min((1 - self.fall) * self.steps, (1 - saved["fall"]) * saved["steps"])
        return before_fall and {**saved, "steps": self.steps, "fall": self.fall} == mine


class Trainer:
    """One training run in a folder; `run` takes it up wherever it stopped."""

    def __init__(
        self,
        model: LlamaForCausalLM,
        epochs: Epochs,
        valid: Sequence[Example],
        schedule: Schedule,
        folder: Path,
        pad: int,
        report: Callable[[str], None] = print,
        workers: Workers | None = None,
        compiled: bool = False,
        device: str = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.model, self.epochs, self.valid = model.to(self.device), epochs, valid
        self.schedule, self.folder, self.pad, self.report = schedule, folder, pad, report
        self.workers = workers or Workers()
        fuse_norms(self.model)
        if self.device.type == "cpu":
            self.model.set_attn_implementation(BATCHED_PRODUCTS)
        self.backbone = torch.compile(model.model, dynamic=True) if compiled else model.model
        self.step, self.tokens = 0, 0
        self._begin(0)
        learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
        matrices = [p for name, p in learning.items() if p.ndim == 2 and ".layers." in name]
        others = [p for name, p in learning.items() if p.ndim != 2 or ".layers." not in name]
        self.optimizers: list[torch.optim.Optimizer] = [
            Muon(
                matrices,
                lr=schedule.peak_lr,
                dtype=torch.bfloat16 if schedule.bfloat16 else torch.float32,
                workers=self.workers,
            ),
            torch.optim.AdamW(others, lr=schedule.peak_lr, betas=(0.9, 0.95), weight_decay=0.0),
        ]

    def run(self, until: int | None = None) -> None:
        """Learn until the step given, or the schedule's end, saving and measuring on the way."""
        end = min(self.schedule.steps, until or self.schedule.steps)
        started_s, tokens_before = time.monotonic(), self.tokens
        while self.step < end:
            loss = self._learn(self._next_batch())
            if self.step % 20 == 0 or self.step == end:
                speed = (self.tokens - tokens_before) / (time.monotonic() - started_s)
                self._note("train", float(loss))
                self.report(f"step {self.step}/{self.schedule.steps} loss {loss:.3f} {speed:.0f} tokens/s")
            measures = self.valid and not self.workers.rank
            if measures and (self.step % self.schedule.measure_every_steps == 0 or self.step == end):
                measured = mean_loss(self.model, self.valid, self.schedule.batch_tokens, self.pad)
                self._note("valid", measured)
                self.report(f"step {self.step} valid loss {measured:.3f}")
            if self.step % self.schedule.save_every_steps == 0 or self.step == end:
                self.save()

    def save(self) -> None:
        """Write everything needed to go on, atomically; the first worker does it for all."""
        if self.workers.rank:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        state: dict[str, Any] = {
            "schedule": asdict(self.schedule),
            "step": self.step,
            "epoch": self.epoch,
            "at": self.at,
            "tokens": self.tokens,
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        torch.save(state, self.folder / "run.part")
        (self.folder / "run.part").replace(self.folder / "run.pt")

    def resume(self) -> bool:
        """Take up the run saved in the folder; tell whether there was one.

        Raises: ValueError when that run had another schedule.
        """
        path = self.folder / "run.pt"
        if not path.exists():
            return False
        state = torch.load(path, weights_only=True, map_location=self.device)
        if not self.schedule.same_until(state["step"], state["schedule"]):
            raise ValueError(
                f"{path} belongs to another schedule {state['schedule']}; delete it or choose that one"
            )
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self._begin(state["epoch"])
        self.step, self.at, self.tokens = (state[k] for k in ("step", "at", "tokens"))
        return True

    def _learn(self, numbers: Sequence[int]) -> Tensor:
        rate = self.schedule.learning_rate(self.step)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        self.model.train()
        loss = self._backward(self.workers.share(numbers), numbers)
        self.workers.add([p.grad for p in self.model.parameters() if p.grad is not None])
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.schedule.clip_norm)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        self.tokens += sum(len(self.train[number].ids) for number in numbers)
        return loss * self.workers.count  # about the whole batch's

    def _backward(self, mine: Sequence[int], batch: Sequence[int]) -> Tensor:
        """Leave this worker's part of the gradient in the parameters; return its part of the loss."""
        if not mine:
            for parameter in self.model.parameters():
                parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
            return torch.zeros(())
        ids, labels = stack(self.train, mine, self.pad)
        learned = sum(np.count_nonzero(self.train[number].learned[1:]) for number in batch)
        part = int((labels != IGNORED).sum()) / learned
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.schedule.bfloat16):
            loss = answer_loss(self.model, ids, labels, self.backbone) * part
        loss.backward()
        return loss.detach()  # read only when it is noted: reading waits for the device

    def _next_batch(self) -> list[int]:
        if self.at == len(self.batches):
            self._begin(self.epoch + 1)
        self.at += 1
        return self.batches[self.at - 1]

    def _begin(self, epoch: int) -> None:
        """Stand at the first batch of an epoch."""
        self.epoch, self.at, self.train = epoch, 0, self.epochs(epoch)
        self.batches = epoch_batches(
            self.train, batch_tokens=self.schedule.batch_tokens, seed=self.schedule.seed, epoch=epoch
        )

    def _note(self, part: str, loss: float) -> None:
        if self.workers.rank:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "losses.csv").open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow([self.step, part, f"{loss:.5f}"])


def answer_loss(
    model: LlamaForCausalLM, ids: Tensor, labels: Tensor, backbone: Callable[..., Any] | None = None
) -> Tensor:
    """Return the mean cross entropy of the learned tokens.

    Shapes: ids and labels [B, T], on the processor -> [], where the model is.
    """
    logits, targets = answer_logits(model, ids, labels, backbone)
    return F.cross_entropy(logits.float(), targets, ignore_index=IGNORED)


def answer_logits(
    model: LlamaForCausalLM, ids: Tensor, labels: Tensor, backbone: Callable[..., Any] | None = None
) -> tuple[Tensor, Tensor]:
    """Return (logits, targets) of the learned tokens in their order, and of some ignored ones after them.

    The head is computed for those alone. `backbone` stands for the model's layers where they were compiled.

    Shapes: ids and labels [B, T], on the processor -> [N, V] and [N], where the model is.
    """
    layers, device = model.model if backbone is None else backbone, next(model.parameters()).device
    places = (labels.flatten() != IGNORED).nonzero().flatten()  # [N]
    targets = labels.flatten()[places]  # [N]
    unused = -len(places) % _HEAD_STEP  # ignored, so that N takes few values
    places, targets = F.pad(places, (0, unused)), F.pad(targets, (0, unused), value=IGNORED)
    hidden = layers(input_ids=ids.to(device), use_cache=False).last_hidden_state  # [B, T, C]
    return model.lm_head(hidden.flatten(0, 1)[places.to(device)]), targets.to(device)


@torch.no_grad()
def mean_loss(model: LlamaForCausalLM, examples: Sequence[Example], batch_tokens: int, pad: int) -> float:
    """Return the mean cross entropy over all learned tokens of the examples."""
    model.eval()
    total, count = 0.0, 0
    for numbers in epoch_batches(examples, batch_tokens=batch_tokens, seed=0, epoch=0):
        ids, labels = stack(examples, numbers, pad)
        learned = int((labels != IGNORED).sum())
        if learned:
            total += float(answer_loss(model, ids, labels)) * learned
            count += learned
    return total / max(1, count)
