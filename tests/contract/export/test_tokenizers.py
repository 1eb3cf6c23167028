"""A checkpoint's tokenizer is read whoever saved it, or refused in words that help, before any work."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from rich.console import Console
from tokenizers import Tokenizer, decoders, models, normalizers

from export.config import Config
from export.errors import ExportError
from export.pipeline import Options, export_bundle
from export.source import Checkpoint
from export.stages import Stages
from export.tokenizer import load_tokenizer, write_tokenizer
from handler.engine import load
from handler.errors import InvalidRequest
from tests.checkpoints import CHAT_TEMPLATE, write_checkpoint
from tests.checkpoints import write_tokenizer as save_tokenizer


def write_llama_tokenizer(folder: Path, **told: object) -> Path:
    """A BPE that falls back to bytes and puts a space in front, as made from sentencepiece's file."""
    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁helo", "he"]
    core = Tokenizer(
        models.BPE(
            {word: at for at, word in enumerate(words)},
            [("h", "e")],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    core.add_special_tokens(["<unk>", "<s>", "</s>"])
    core.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"legacy": False, **told}))
    return folder


@pytest.mark.parametrize("kind", ["LlamaTokenizer", "LlamaTokenizerFast"])
@pytest.mark.parametrize("told", [{}, {"add_prefix_space": True}, {"add_prefix_space": False}])
def test_a_llama_tokenizer_needs_no_sentencepiece(kind: str, told: dict[str, bool], tmp_path: Path) -> None:
    """Whether a space goes in front is in its file, as when its config said so nowhere."""
    tokenizer = load_tokenizer(write_llama_tokenizer(tmp_path, tokenizer_class=kind, **told))
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode("hello")) == ["<s>", "▁", "he", "l", "l", "o"]


def test_a_space_in_front_stays_a_byte_level_tokenizers_setting(tmp_path: Path) -> None:
    """There the config changes what the file says, and transformers needs nothing else for it."""
    save_tokenizer(tmp_path)
    told = json.loads((tmp_path / "tokenizer_config.json").read_text())
    changed = {**told, "tokenizer_class": "GPT2TokenizerFast", "add_prefix_space": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(changed))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.encode("Hello") == tokenizer.encode(" Hello")


@pytest.mark.parametrize("left", [(), ("tokenizer_config.json",)])
def test_a_folder_without_a_tokenizer_is_told_how_to_get_one(left: tuple[str, ...], tmp_path: Path) -> None:
    """Not by what fails inside transformers."""
    save_tokenizer(tmp_path)
    for file in tmp_path.iterdir():
        if file.name not in left:
            file.unlink()
    with pytest.raises(ExportError, match=r"holds no tokenizer\.json; save the model's .*save_pretrained"):
        load_tokenizer(tmp_path)


def checkpoint_of(folder: Path, vocabulary: int = 512) -> Checkpoint:
    """A checkpoint of which only the text side is there."""
    config = {"architectures": ["LlamaForCausalLM"], "vocab_size": vocabulary}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text("{}")
    return Checkpoint(folder, "source", "sha256:0", "mit", Config.load(folder))


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    """Both numbers are named; a vocabulary that the model's is larger than is nothing unusual."""
    save_tokenizer(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    last = len(load_tokenizer(tmp_path)) - 1
    for enough in (last + 1, 700):
        write_tokenizer(checkpoint_of(tmp_path, enough), out)
    with pytest.raises(ExportError, match=f"is id {last}, the model's vocab_size is {last}: they do not"):
        write_tokenizer(checkpoint_of(tmp_path, last), out)


@pytest.mark.parametrize("used", ["in the template", "as the beginning", "as the end", "nowhere"])
def test_tokens_that_were_added_may_only_be_there(used: str, tmp_path: Path) -> None:
    """Gemma 3 has one for images behind the model's last id; one that prompts or ends need is refused."""
    save_tokenizer(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    vocabulary = len(tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|new|>"]})
    if used == "in the template":
        tokenizer.chat_template = "<|new|>" + CHAT_TEMPLATE
    if used == "as the beginning":
        tokenizer.bos_token = "<|new|>"
    if used == "as the end":
        tokenizer.eos_token = "<|new|>"
    tokenizer.save_pretrained(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    if used == "nowhere":
        write_tokenizer(checkpoint_of(tmp_path, vocabulary), out)
        return
    said = f"'<|new|>' is id {vocabulary}, the model's vocab_size is {vocabulary}"
    with pytest.raises(ExportError, match=re.escape(said)):
        write_tokenizer(checkpoint_of(tmp_path, vocabulary), out)


OTHER_USES = [{"name": "tool_use", "template": CHAT_TEMPLATE}, {"name": "rag", "template": "X"}]
NO_SYSTEM = "{% if messages[0].role != 'system' %}{{ raise_exception('whose rules?') }}{% endif %}"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (OTHER_USES, "chat_template: rag, tool_use, must have one for chats, named default"),
        (123, "chat_template: 123, must be a text or a list of texts by name"),
        ([{"name": "default", "template": 123}], "chat_template: 123, must be a text"),
        (NO_SYSTEM + CHAT_TEMPLATE, "a user's message alone cannot be asked: .*: whose rules?"),
        ("{{ 'x' + 1 }}", "a user's message alone cannot be asked: .*: can only concatenate str"),
        (
            "{{ additional_special_tokens[0] }}",
            "alone cannot be asked: .*additional_special_tokens' is undef",
        ),
        ("{% for m in messages %}", "alone cannot be asked: chat_template.jinja: line 1: Unexpected end"),
        ("{{ messages[0].content[0].text }}", "chat_template: leaves out what a user's message says"),
    ],
)
def test_a_template_by_which_no_question_is_asked_is_refused(
    template: object, said: str, tmp_path: Path
) -> None:
    """By the folder and what is wrong with it, before anything is written."""
    save_tokenizer(tmp_path, chat=False)
    told = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**told, "chat_template": template}))
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(ExportError, match=f"{re.escape(str(tmp_path))}: .*{said}"):
        write_tokenizer(checkpoint_of(tmp_path), out)
    assert not list(out.iterdir())


def test_a_template_for_another_use_beside_none_is_refused(tmp_path: Path) -> None:
    """In a file of its own, as transformers saves it."""
    save_tokenizer(tmp_path, chat=False)
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "tool.jinja").write_text(CHAT_TEMPLATE)
    with pytest.raises(ExportError, match="chat_template: tool, must have one for chats"):
        write_tokenizer(checkpoint_of(tmp_path), tmp_path)


@pytest.mark.parametrize("kept", ["as one text", "as the default of several"])
def test_the_template_for_chats_is_written(kept: str, tmp_path: Path) -> None:
    """Whether it is the only one or not."""
    save_tokenizer(tmp_path, chat=False)
    several = [{"name": "default", "template": CHAT_TEMPLATE}, *OTHER_USES]
    told = json.loads((tmp_path / "tokenizer_config.json").read_text())
    template = CHAT_TEMPLATE if kept == "as one text" else several
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**told, "chat_template": template}))
    write_tokenizer(checkpoint_of(tmp_path), tmp_path)
    assert (tmp_path / "chat_template.jinja").read_text() == CHAT_TEMPLATE


def test_a_template_may_fail_on_what_it_does_not_know(tmp_path: Path) -> None:
    """In any way, as long as the engine's and transformers' fail alike: here on a system message."""
    source = write_checkpoint(tmp_path / "source", "llama")
    fails = "{% if messages[0].role == 'system' %}{{ 'x' + 1 }}{% endif %}"
    (source / "chat_template.jinja").write_text(fails + CHAT_TEMPLATE)
    export_bundle(Options(str(source), tmp_path / "bundle", "fp32"), Stages(Console(quiet=True)))
    with pytest.raises(InvalidRequest, match="can only concatenate"):
        load(tmp_path / "bundle").prompt.encode([{"role": "system", "content": "Be brief."}])
