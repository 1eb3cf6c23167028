"""Quality on held-out dialogues: read, answered through the engine, scored; wrong files are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from export.config import Config
from export.errors import ExportError
from export.graph.facts import Decoder, Family
from export.pipeline import Options, export_bundle
from export.quality import ANSWER_TOKENS, Dialogue, check_dialogues, main, quality, read_dialogues, scored
from export.stages import Stages
from handler.engine import load
from handler.errors import InvalidRequest
from tests.conftest import TinyBundle, TinyCheckpoint


def write(file: Path, *dialogues: Any) -> Path:
    lines = [one if isinstance(one, str) else json.dumps(one) for one in dialogues]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def said(*contents: str) -> dict[str, Any]:
    """A dialogue of these messages, the user's first."""
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[at % 2], "content": text} for at, text in enumerate(contents)]}


def test_the_bundles_own_answers_are_exact(tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    """A file that wants what the bundle answers scores 100 throughout; another answer does not."""
    engine = load(tiny_bundle("llama", "int4"))
    question = [{"role": "user", "content": "Hello?"}]
    prompt = engine.prompt.encode(question)
    ids = [t.id for t in engine.generate(prompt, engine.params(temperature=0), max_tokens=ANSWER_TOKENS)]
    own = engine.tokenizer.decode(ids)
    file = write(tmp_path / "own.jsonl", said("Hello?", own))
    (told,) = quality(engine, read_dialogues(file)).facts["languages"].values()
    assert (told["dialogues"], told["exact"]) == (1, 1)
    assert (told["bleu"], told["chrf"]) == pytest.approx((100.0, 100.0))
    other = read_dialogues(write(tmp_path / "other.jsonl", said("Hello?", "four words of another")))
    section = quality(engine, other)
    assert section.facts["languages"]["en"]["exact"] == 0
    assert section.tables[1].rows[0] == ("Hello?", "four words of another", own)


class ScriptedEngine:
    """Gives one answer to everything, and refuses to be asked in capitals; `asked` counts the answers."""

    def __init__(self, answer: str) -> None:
        self.answer, self.asked = answer, 0
        self.prompt = self.model = self.tokenizer = self
        self.context_tokens = 64

    def encode(self, messages: list[Any]) -> list[int]:
        if messages[-1]["content"].isupper():
            raise InvalidRequest("The chat template refuses capitals.")
        return [1]

    def params(self, **_given: float) -> None:
        """It draws nothing."""

    def generate(self, _prompt: list[int], _params: None, max_tokens: int) -> list[Any]:
        self.asked += 1
        return []

    def decode(self, _ids: list[int]) -> str:
        return self.answer


def test_an_exact_match_is_not_among_the_others(tmp_path: Path) -> None:
    """White space makes no other answer, neither in the score nor in the table of those that missed."""
    engine = ScriptedEngine("I am\n well.")
    file = write(tmp_path / "dialogues.jsonl", said("Hello?", "I am well."), said("Hello?", "I'm well."))
    section = quality(cast(Any, engine), read_dialogues(file))
    assert section.facts["languages"]["en"]["exact"] == 1
    assert [row[1] for row in section.tables[1].rows] == ["I'm well."]


def test_a_dialogue_that_cannot_be_asked_is_told_before_any_is_answered(tmp_path: Path) -> None:
    """Hours of answers are not given for the line behind them."""
    engine = ScriptedEngine("Hi.")
    file = write(tmp_path / "dialogues.jsonl", said("Hello?", "Hi."), said("HELLO?", "Hi."))
    with pytest.raises(ExportError, match=r"dialogues\.jsonl:2: The chat template refuses capitals"):
        quality(cast(Any, engine), read_dialogues(file))
    assert engine.asked == 0


def test_languages_are_scored_apart() -> None:
    """Chinese is compared character by character: one changed of ten still has much in common."""
    zh = Dialogue(({"role": "user", "content": "?"},), "今天天气很好我很高兴")
    en = Dialogue(({"role": "user", "content": "?"},), "I am well, thank you very much.")
    assert (zh.language, en.language) == ("zh", "en")
    near = scored([(zh, "今天天气很好我很快乐")])
    assert 50 < near.bleu < 100
    assert near.exact == 0
    assert scored([(en, "  I am well,\nthank you very much. ")]).exact == 1


def test_only_a_newline_ends_a_line(tmp_path: Path) -> None:
    """The other separators of lines that Unicode knows are characters of JSON's strings."""
    text = "one\u2028two\u2029three\x85four"
    line = json.dumps(said(text, "Hi."), ensure_ascii=False)
    (read,) = read_dialogues(write(tmp_path / "separators.jsonl", line))
    assert read.messages[0]["content"] == text


def test_a_dialogue_too_long_is_counted_out(tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    """What does not fit in the context is not scored, and the section says how many."""
    engine = load(tiny_bundle("llama", "int4"))
    file = write(tmp_path / "long.jsonl", said("Hello?", "Hi."), said("word " * 400, "Hi."))
    section = quality(engine, read_dialogues(file))
    assert (section.facts["dialogues"], section.facts["answered"]) == (2, 1)
    assert section.text[1] == "1 of 2 dialogues were answered; 1 do not fit in the context."


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["{"], r':1: must be a JSON object with "messages"'),
        (["", "[]"], r':2: must be a JSON object with "messages"'),
        ([said("alone")], ":1: messages: must be a list of two or more"),
        ([{"messages": [{"role": "robot", "content": "a"}, {}]}], r":1: messages\[0\].role: must be one of"),
        (
            [{"messages": [{"role": "user", "content": 1}, {}]}],
            r":1: messages\[0\].content: must be a string",
        ),
        ([said("\ud800", "b")], r":1: messages\[0\].content: must be a string of whole characters"),
        ([said("a", "b\udfff")], r":1: messages\[1\].content: must be a string of whole characters"),
        ([said("a", "b", "c")], r":1: messages\[2\]: must be the assistant's"),
        ([said("a", " ")], r":1: messages\[1\]: must be the assistant's"),
        (["", " "], "is empty"),
    ],
)
def test_a_wrong_file_is_refused_by_line_and_field(tmp_path: Path, lines: list[Any], message: str) -> None:
    """The error says which line and field, what was wrong and what is allowed."""
    with pytest.raises(ExportError, match=message):
        read_dialogues(write(tmp_path / "dialogues.jsonl", *lines))


def test_a_dialogue_that_the_template_refuses_is_told_before_the_work(
    tiny_checkpoint: TinyCheckpoint, tmp_path: Path
) -> None:
    """By its line, and before anything is converted: Gemma 2's template, for one, knows no system."""
    source = tmp_path / "source"
    shutil.copytree(tiny_checkpoint("llama"), source)
    template = source / "chat_template.jinja"
    refusal = "{% if messages[0].role == 'system' %}{{ raise_exception('no system here') }}{% endif %}"
    template.write_text(refusal + template.read_text("utf-8"), "utf-8")
    system = {"messages": [{"role": "system", "content": "Be brief."}, *said("Hello?", "Hi.")["messages"]]}
    file = write(tmp_path / "dialogues.jsonl", said("Hello?", "Hi."), system)

    def read(_config: Config) -> Decoder:
        raise AssertionError("the work has begun")

    families = (Family("untouched", ("LlamaForCausalLM",), read),)
    options = Options(str(source), tmp_path / "bundle", dialogues=file)
    with pytest.raises(ExportError, match=r"--dialogues: .*dialogues\.jsonl:2: .* refuses .*no system here"):
        export_bundle(options, Stages(Console(quiet=True)), families)


def test_a_template_may_add_to_the_messages() -> None:
    """As those do that begin with `[...] + messages`: it gets a list."""
    got: list[Any] = []

    class Prompt:
        def encode(self, messages: Any) -> list[int]:
            got.append([{"role": "system", "content": "Be kind."}] + messages)  # noqa: RUF005
            return [1]

    asked = {"role": "user", "content": "Hello?"}
    check_dialogues([Dialogue((asked,), "Hi.")], cast(Any, Prompt()))
    assert got[0][1:] == [asked]


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    """A missing file and one in another encoding are told by name."""
    with pytest.raises(ExportError, match=r"none\.jsonl cannot be read"):
        read_dialogues(tmp_path / "none.jsonl")
    (tmp_path / "latin").write_bytes(b'{"messages": "\xe9"}')
    with pytest.raises(ExportError, match="is not UTF-8 text, byte 14"):
        read_dialogues(tmp_path / "latin")


def test_the_command_prints_json(
    tiny_bundle: TinyBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python -m export.quality` gives the scores for programs, and one line for a wrong file."""
    bundle = str(tiny_bundle("llama", "int4"))
    file = write(tmp_path / "dialogues.jsonl", said("Hello?", "Hi."), said("你好", "你好！"))
    assert main([bundle, "--dialogues", str(file)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert set(printed["languages"]) == {"en", "zh"}
    assert main([bundle, "--dialogues", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err.startswith("export.quality: --dialogues: ")
