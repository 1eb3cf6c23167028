"""`python -m export compare`: local models side by side, in words, in JSON and in a picture."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from export.__main__ import main
from export.compare.chart import draw
from export.compare.lambda_fit import DEPENDENCY_BYTES, Fit, fit
from export.compare.prediction import READ_ROWS, Quality, quality, surprise
from export.compare.results import Result
from export.errors import ExportError
from export.evaluate import log_softmax
from export.passage import PASSAGE
from export.served import all_logits
from export.speed import Speed
from handler.engine import load
from handler.engine.bundle import read_manifest
from handler.engine.token_bytes import token_bytes
from infra.artifact import UNZIPPED_LIMIT_BYTES
from tests.checkpoints import with_bos
from tests.conftest import TinyBundle, TinyCheckpoint

SPEED = Speed(load_s=0.3, prefill_tokens_per_s=500.0, decode_tokens_per_s=50.0, peak_bytes=300_000_000)


def test_folders_and_bundles_are_compared(
    tiny_checkpoint: TinyCheckpoint,
    tiny_bundle: TinyBundle,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Two model folders and a bundle: a column each, in the order given, as their manifests say."""
    bundle = tiny_bundle("gpt2", "int8")
    sources = [str(tiny_checkpoint("llama")), str(bundle), str(tiny_checkpoint("qwen2"))]
    assert main(["compare", *sources, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    facts = json.loads((tmp_path / "out" / "compare.json").read_text())["models"]
    names = [model["name"] for model in facts]
    assert names == ["tiny-llama", "tiny-gpt2-int8", "tiny-qwen2"]
    for model in facts:
        found = bundle if model["recipe"].startswith("int8") else tmp_path / "out" / "bundles" / model["name"]
        manifest = read_manifest(found)
        assert model["kl"] == manifest.fidelity["kl_mean"]
        assert model["context_tokens"] == manifest.context_tokens
        assert model["speed"]["decode_tokens_per_s"] > 0
        assert model["speed"]["peak_bytes"] > 30_000_000
        assert model["fit"]["packaging"] == {"zip": True, "image": True, "S3": True, "SnapStart": True}
        assert model["quality"]["bits_per_byte"] == pytest.approx(quality(found, PASSAGE).bits_per_byte)
    markdown = (tmp_path / "out" / "compare.md").read_text()
    for words in ("bits per byte", "cost of 1,000 answers, USD", "licence", "fits", *names):
        assert words in said
        assert words in markdown
    picture = (tmp_path / "out" / "compare.svg").read_text()
    assert picture.startswith("<?xml")
    assert "(compare.svg)" in markdown


def test_a_byte_costs_the_same_bits_whatever_the_tokens(tiny_bundle: TinyBundle) -> None:
    """A byte-level model that knows nothing is near its vocabulary's bits, spread over a token's bytes."""
    found = quality(tiny_bundle("llama", "fp32"), PASSAGE)
    assert found.bytes_per_token > 1
    assert found.perplexity_per_byte == pytest.approx(2**found.bits_per_byte)


def test_a_window_read_in_parts_gives_the_number_of_the_whole(tiny_bundle: TinyBundle) -> None:
    """The text fills windows of the context and part of another: the sum is that over their whole logits."""
    bundle = tiny_bundle("llama", "int8")
    engine = load(bundle)
    ids = list(engine.prompt.encode_text(PASSAGE))
    window = engine.model.context_tokens - 2
    assert READ_ROWS < window < len(ids)
    nats, count_bytes = 0.0, 0
    for start in range(0, len(ids), window):
        part = ids[start : start + window]
        known = log_softmax(all_logits(engine.model, part))
        nats -= sum(known[at, id_] for at, id_ in enumerate(part[1:]))
        count_bytes += sum(len(token_bytes(engine.tokenizer, id_)) for id_ in part[1:])
    expected = nats / math.log(2) / count_bytes
    assert quality(bundle, PASSAGE).bits_per_byte == pytest.approx(expected, rel=1e-12)


def test_every_window_begins_with_bos(tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    """As the model's own tokenizer begins the text: it is read, and its bytes are nobody's."""
    bundle = with_bos(tiny_bundle("llama", "int8"), tmp_path / "bundle")
    engine = load(bundle)
    bos, *ids = engine.prompt.encode_text(PASSAGE)
    assert engine.prompt.encode_text("") == [bos]
    step = engine.model.context_tokens - 3
    assert step < len(ids)
    nats, count_bytes = 0.0, 0
    for start in range(0, len(ids), step):
        part = ids[start : start + step]
        known = log_softmax(all_logits(engine.model, [bos, *part]))
        nats -= sum(known[at, id_] for at, id_ in enumerate(part))
        count_bytes += sum(len(token_bytes(engine.tokenizer, id_)) for id_ in part)
    assert count_bytes == len(PASSAGE.encode())
    expected = nats / math.log(2) / count_bytes
    assert quality(bundle, PASSAGE).bits_per_byte == pytest.approx(expected, rel=1e-12)


class IndifferentModel:
    """Finds every id as likely as any other."""

    vocabulary = 4096

    def new_cache(self) -> None:
        """It remembers nothing."""

    def forward(self, ids: Sequence[int], cache: None, rows: int) -> NDArray[np.float32]:
        assert rows == len(ids)
        return np.zeros((rows, self.vocabulary), np.float32)


def test_a_long_window_holds_a_few_rows_of_logits() -> None:
    """8,000 rows would be 131 MB; what is held does not grow with the window."""
    model, ids = IndifferentModel(), [1] * 8001
    tracemalloc.start()
    nats = surprise(model, ids)
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert nats == pytest.approx(8000 * math.log(model.vocabulary))
    assert most_bytes < 10_000_000


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("z", 1)])
def test_a_text_without_a_second_token_measures_nothing(
    text: str, tokens: int, tiny_bundle: TinyBundle
) -> None:
    """The first token is not predicted: with no other, the option is named, and what it needs."""
    with pytest.raises(ExportError, match=f"--text: too short: it has {tokens} of .* at least 2 are needed"):
        quality(tiny_bundle("llama", "fp32"), text)


def test_a_zip_holds_what_dependencies_leave_room_for() -> None:
    """One byte more, and it is an image or S3; beyond Lambda's memory it is nothing."""
    room = UNZIPPED_LIMIT_BYTES - DEPENDENCY_BYTES
    assert fit(room, SPEED, 4.0).packaging["zip"]
    assert fit(room + 1, SPEED, 4.0).packaging == {"zip": False, "image": True, "S3": True, "SnapStart": True}
    huge = Speed(0.3, 500.0, 50.0, 11 << 30)
    assert not any(fit(room, huge, 4.0).packaging.values())
    assert not fit(10 << 30, SPEED, 4.0).packaging["image"]


def test_a_bundle_from_s3_takes_more_memory_than_from_a_folder() -> None:
    """One of 3 GB fits in Lambda's memory in an image, and not where it is held three times for a moment."""
    found = fit(3 << 30, Speed(0.3, 500.0, 50.0, 4 << 30), 4.0).packaging
    assert found == {"zip": False, "image": True, "S3": False, "SnapStart": False}
    assert fit(2 << 30, Speed(0.3, 500.0, 50.0, 3 << 30), 4.0).packaging["S3"]


def test_a_slower_model_and_smaller_tokens_cost_more() -> None:
    """Half the speed is twice the price of the time; so are tokens of half the length."""

    def usd(found: Fit) -> float:
        return found.usd_per_1000 - fit(0, Speed(0, 1e12, 1e12, 1), 4.0).usd_per_1000

    once = usd(fit(0, SPEED, 4.0))
    slower = Speed(0.3, 250.0, 25.0, 300_000_000)
    assert usd(fit(0, slower, 4.0)) == pytest.approx(2 * once, rel=1e-3)
    assert usd(fit(0, SPEED, 2.0)) == pytest.approx(2 * once, rel=1e-3)


NOWHERE = "cannot be exported: "


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        (["only-one"], ["compare: needs two models at least"]),
        (["same", "same"], ["same: given twice"]),
        (["one", "two", "--block", "48"], ["--block: 48, must be one of"]),
        (["one", "two", "--quant", "fp32", "--block", "64"], ["--block: 64, fp32 rounds nothing"]),
        (
            ["./no-such-folder", "./nor-this"],
            [f"./no-such-folder: {NOWHERE}", f"./nor-this: {NOWHERE}", "compare: none of the models"],
        ),
    ],
)
def test_what_cannot_be_compared_is_a_line_each(
    sources: list[str], said: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, every source is named, and no table is written."""
    assert main(["compare", *sources, "--out", str(tmp_path / "out")]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(said)
    for line, words in zip(lines, said, strict=True):
        assert line.startswith(f"export: {words}")
    assert not (tmp_path / "out" / "compare.md").exists()


@pytest.mark.parametrize(("kl", "drawn"), [(0.0, True), (None, False)])
def test_a_divergence_that_is_not_known_is_not_drawn(kl: float | None, drawn: bool, tmp_path: Path) -> None:
    """Zero is a perfect model, and None is no number: the panel stays empty."""
    one = Result(
        name="one",
        source="one",
        licence="unknown",
        parameters=10**6,
        context_tokens=256,
        recipe="int4",
        bundle_bytes=10**6,
        kl=kl,
        top1_agreement=None,
        accepted=None,
        quality=Quality(1.5, 4.0),
        speed=SPEED,
        fit=Fit(1769, 0.25, {"zip": True}),
    )
    draw([one], tmp_path / "chart.svg")
    assert ("<!--   0.000 -->" in (tmp_path / "chart.svg").read_text()) is drawn


def test_a_hub_out_of_reach_is_named_by_its_model(tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    """A hub id among local models, with the hub unreachable."""
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hub")}
    environment.pop("HF_HUB_OFFLINE", None)
    sources = [str(tiny_bundle()), "someone/some-model"]
    command = [sys.executable, "-m", "export", "compare", *sources, "--out", str(tmp_path / "out")]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 1
    assert "export: someone/some-model: cannot be exported: " in ended.stderr
    assert "the hub cannot be reached" in ended.stderr


def test_a_folder_named_compare_is_still_a_source(
    tiny_checkpoint: TinyCheckpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ./ before it."""
    shutil.copytree(tiny_checkpoint("llama"), tmp_path / "compare")
    monkeypatch.chdir(tmp_path)
    assert main(["./compare", "--out", "out"]) == 0
    assert read_manifest(tmp_path / "out").name == "compare"
