"""`python -m export` makes a whole bundle or none."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from export.__main__ import main
from export.command import run
from export.compare.prediction import quality
from export.errors import ExportError
from export.passage import PASSAGE, PASSAGES
from export.pipeline import Options, export_bundle
from export.speed import measure
from export.stages import Stages
from export.texts import OWN_ANSWERS
from export.tokenizer import load_tokenizer
from handler.engine import integrity, load
from handler.engine.bundle import MANIFEST, read_manifest
from tests.checkpoints import write_checkpoint
from tests.conftest import TinyBundle, TinyCheckpoint


def test_a_bundle_holds_what_it_promises(tiny_bundle: TinyBundle) -> None:
    """Every file is there, hashed, and the manifest says where the model came from."""
    bundle = tiny_bundle("llama", "int4")
    manifest = read_manifest(bundle)
    integrity.verify(bundle, manifest.files, manifest.files)
    assert set(manifest.files) == {
        "MODEL_CARD.md",
        "chat_template.jinja",
        "golden.json",
        "model.onnx",
        "model.onnx.data",
        "report/report.html",
        "report/report.json",
        "report/report.md",
        "tokenizer.bin",
        "tokenizer.json",
    }
    assert manifest.source.revision.startswith("sha256:")
    assert manifest.source.way == "fused"
    assert manifest.tokens.eos == (0,)
    assert manifest.tokens.template_tokens == {
        "bos_token": "<|end|>",
        "eos_token": "<|end|>",
        "pad_token": "<|pad|>",
    }
    report = json.loads((bundle / "report" / "report.json").read_text())
    assert (report["format"], report["passed"], report["accepted"]) == (1, True, None)
    assert report["sections"]["fidelity"]["tokens"] == manifest.fidelity["tokens"] > 96
    assert set(report["sections"]["fidelity"]["by_kind"]) == {*PASSAGES, OWN_ANSWERS}


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_golden_answers_can_be_given_again(family: str, tiny_bundle: TinyBundle) -> None:
    """A freshly loaded bundle answers the golden questions with the recorded ids."""
    bundle = tiny_bundle(family, "int4")
    engine = load(bundle)
    for transcript in json.loads((bundle / "golden.json").read_text())["transcripts"]:
        wanted = transcript["generated_ids"]
        answer = engine.generate(
            transcript["prompt_ids"], engine.params(temperature=0), max_tokens=max(1, len(wanted))
        )
        assert [token.id for token in answer] == wanted


def test_gpt2_answers_without_a_chat_template(tiny_bundle: TinyBundle) -> None:
    """The article's own question goes through the same path as a chat model's."""
    engine = load(tiny_bundle("gpt2", "int4"))
    prompt = engine.prompt.encode([{"role": "user", "content": "Hello, how are you?"}])
    assert engine.tokenizer.decode(prompt) == "Hello, how are you?"
    stream = engine.chat([{"role": "user", "content": "Hello, how are you?"}], max_tokens=12, temperature=0)
    assert "".join(piece.text for piece in stream)


def test_a_tokenizer_of_vocabulary_and_merges_becomes_one_file(tmp_path: Path) -> None:
    """GPT-2 as published has no tokenizer.json; the one made for it gives transformers' ids."""
    source = write_checkpoint(tmp_path / "source", "gpt2")
    core = Tokenizer.from_file(str(source / "tokenizer.json"))
    core.model.save(str(source))
    (source / "tokenizer.json").unlink()
    names = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|end|>")
    (source / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer", **names}))
    assert {path.name for path in source.iterdir()} >= {"vocab.json", "merges.txt"}
    export_bundle(Options(str(source), tmp_path / "bundle"), Stages(Console(quiet=True)))
    engine = load(tmp_path / "bundle")
    for text in ("Hello, how are you?", "你好，世界", "  two  spaces\n"):
        assert engine.prompt.encode_text(text) == AutoTokenizer.from_pretrained(source)(text)["input_ids"]


def test_a_folder_that_is_no_bundle_is_not_replaced(tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> None:
    """`--out` on somebody's own folder is refused before any work."""
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ExportError, match="exists and is not a bundle"):
        export_bundle(Options(str(tiny_checkpoint("llama")), tmp_path), Stages(Console(quiet=True)))
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


class Terminated(Stages):
    """Is told to end where the gate begins, by the operating system."""

    def __init__(self, out: Path) -> None:
        super().__init__(Console(quiet=True))
        self._out = out
        self.seen: set[str] = set()

    @contextmanager
    def stage(self, name: str, detail: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        if name == "verify":
            (folder,) = self._out.parent.glob(f".{self._out.name}.*.partial")
            self.seen = {path.name for path in folder.iterdir()}
            signal.raise_signal(signal.SIGTERM)
        with super().stage(name, detail, total) as done:
            yield done


def test_a_terminated_export_leaves_nothing_behind(
    tiny_checkpoint: TinyCheckpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It cleans up as after Ctrl-C; and until the verdict there is no manifest by which a bundle is one."""
    stages = Terminated(tmp_path / "bundle")

    def command() -> int:
        export_bundle(Options(str(tiny_checkpoint("llama")), tmp_path / "bundle", "int8"), stages)
        return 0

    assert run("export", command) == 1
    assert capsys.readouterr().err == "export: interrupted\n"
    assert "model.onnx" in stages.seen
    assert MANIFEST not in stages.seen
    assert not list(tmp_path.iterdir())


def test_an_old_bundle_is_replaced(tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> None:
    """Success puts the new bundle in place of the old and leaves no other folder."""
    out = tmp_path / "bundle"
    out.mkdir()
    (out / MANIFEST).write_text("{}")
    options = Options(str(tiny_checkpoint("llama")), out, "fp32", name="mine", context_tokens=128)
    export_bundle(options, Stages(Console(quiet=True)))
    manifest = read_manifest(out)
    assert (manifest.name, manifest.context_tokens, manifest.quantization.recipe) == ("mine", 128, "fp32")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize("way", ["fused", "universal"])
def test_the_smallest_context_makes_a_bundle(
    way: str, tiny_checkpoint: TinyCheckpoint, tmp_path: Path
) -> None:
    """Although no template finds room in it; a comparison measures it as any other."""
    out = tmp_path / "out"
    options = Options(str(tiny_checkpoint("llama")), out, "int8", way=way, context_tokens=3)
    export_bundle(options, Stages(Console(quiet=True)))
    assert read_manifest(out).context_tokens == 3
    assert quality(out, PASSAGE).bits_per_byte > 0
    assert measure({"out": out}, tmp_path / "logs", rounds=1)["out"].decode_tokens_per_s > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["./nowhere"], "./nowhere: neither a folder nor a hub id"),
        (["{checkpoint}", "--context", "4096"], "--context: 4096, must be from 3 to 256"),
        (["{checkpoint}", "--context", "2"], "--context: 2, must be from 3 to 256"),
        (["{checkpoint}", "--block", "48"], "--block: 48, must be one of 16, 32, 64, 128, 256"),
        (["{empty}"], "config.json: not found"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    arguments: list[str],
    said: str,
    tiny_checkpoint: TinyCheckpoint,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 1 and one line that names the argument or file; no traceback."""
    (tmp_path / "empty").mkdir()
    places = {"checkpoint": tiny_checkpoint("llama"), "empty": tmp_path / "empty"}
    assert main([a.format(**places) for a in arguments] + ["--out", str(tmp_path / "out")]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("export: ")]
    assert len(errors) == 1
    assert said in errors[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", ["cut in the middle", "a kind of model from the future", "not an object"])
def test_a_tokenizer_that_cannot_be_read_is_named(
    damage: str, tiny_checkpoint: TinyCheckpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file, that it is damaged or too new, and what tokenizers says of it; no traceback."""
    source = tmp_path / "source"
    shutil.copytree(tiny_checkpoint("llama"), source)
    file = source / "tokenizer.json"
    content = file.read_text()
    assert '"type":"BPE"' in "".join(content.split())
    parsed = json.loads(content)
    parsed["model"]["type"] = "Foreseen"
    file.write_text(
        {"cut in the middle": content[: len(content) // 2], "not an object": "[]"}.get(damage)
        or json.dumps(parsed)
    )
    assert main([str(source), "--out", str(tmp_path / "out")]) == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("export: "))
    assert line.startswith(f"export: {file}: damaged, or newer than tokenizers ")
    assert line.rpartition("can read: ")[2]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["TokenizersBackend", "PreTrainedTokenizerFast"])
def test_a_tokenizer_saved_by_transformers_5_is_the_same(kind: str, tmp_path: Path) -> None:
    """It has a class that 4 does not know, and its further special tokens in a list by another name."""
    source = write_checkpoint(tmp_path / "source", "llama")
    older = load_tokenizer(source)
    (source / "special_tokens_map.json").unlink()
    ends = dict.fromkeys(("bos_token", "eos_token"), "<|end|>")
    told = {"tokenizer_class": kind, "backend": "tokenizers", "extra_special_tokens": ["<|start|>"], **ends}
    (source / "tokenizer_config.json").write_text(json.dumps({**told, "pad_token": "<|pad|>"}))
    newer = load_tokenizer(source)
    assert newer.additional_special_tokens == ["<|start|>"]
    assert newer.special_tokens_map == {
        **older.special_tokens_map,
        "additional_special_tokens": ["<|start|>"],
    }
    chat = [{"role": "user", "content": "Hello, how are you?"}]
    assert newer.apply_chat_template(chat) == older.apply_chat_template(chat)


def test_a_vocabulary_of_sentencepiece_alone_is_refused_by_name(tmp_path: Path) -> None:
    """The message asks for the file that is missing, and says what writes it."""
    source = write_checkpoint(tmp_path / "source", "llama")
    (source / "tokenizer.model").write_bytes(b"beside a tokenizer.json nothing reads it")
    load_tokenizer(source)
    (source / "tokenizer.json").unlink()
    (source / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer"}))
    told = r"source: holds a tokenizer\.model only; save it with its tokenizer\.json where sentencepiece is"
    with pytest.raises(ExportError, match=told):
        load_tokenizer(source)


def test_wrong_usage_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown recipe is a usage error that lists the recipes."""
    with pytest.raises(SystemExit) as stopped:
        main(["somewhere", "--out", "x", "--quant", "int2"])
    assert stopped.value.code == 2
    assert "int4" in capsys.readouterr().err


def test_a_hub_out_of_reach_is_one_clear_line(tmp_path: Path) -> None:
    """With the hub unreachable, the message says so and names the id."""
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hub")}
    environment.pop("HF_HUB_OFFLINE", None)
    command = [sys.executable, "-m", "export", "someone/some-model", "--out", str(tmp_path / "out")]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 1
    assert ended.stderr.startswith(
        "export: someone/some-model: no such folder here, and the hub cannot be reached"
    )
    assert len(ended.stderr.splitlines()) == 1
