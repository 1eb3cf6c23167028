"""The calibration text is read, cut and checked; what cannot be one is refused by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from export.errors import ExportError
from export.passage import PASSAGE, PASSAGES
from export.rounding.text import FEWEST_TOKENS, SHIPPED, CalibrationText, default_text, read_text, windows
from export.tokenizer import load_tokenizer
from tests.conftest import TinyCheckpoint

SMALL, LARGE = 10_000, 10**13  # multiplications a token costs


@pytest.fixture
def tokenizer(tiny_checkpoint: TinyCheckpoint) -> Any:
    """One with a chat template."""
    return load_tokenizer(tiny_checkpoint("llama"))


def test_chats_go_through_the_template_and_prose_does_not(tokenizer: Any) -> None:
    """Control tokens stand around the turns of a chat, and around nothing else."""
    text = CalibrationText("mine", "System: Be kind.\nUser: Hello?\nAssistant: Hi.\n\n\nThe fox.\nUser: no\n")
    found = tokenizer.decode([i for window in windows(text, tokenizer, 256, SMALL) for i in window])
    assert found.startswith(
        "<|end|><|start|>system\nBe kind.<|end|>\n<|start|>user\nHello?<|end|>\n"
        "<|start|>assistant\nHi.<|end|>\nThe fox.\nUser: no"
    )


def test_a_base_model_reads_chats_as_they_stand(tiny_checkpoint: TinyCheckpoint) -> None:
    """Without a template there is nothing to put around a turn."""
    tokenizer = load_tokenizer(tiny_checkpoint("gpt2"))
    text = CalibrationText("mine", "User: Hello?\nAssistant: Hi.")
    assert tokenizer.decode(windows(text, tokenizer, 256, SMALL)[0]).startswith(
        "User: Hello?\nAssistant: Hi."
    )


def test_a_chat_that_the_template_refuses_is_read_as_it_stands(tokenizer: Any) -> None:
    """Some templates want a person's turn first."""
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    text = CalibrationText("mine", "Assistant: Hi.\nAssistant: Anybody?")
    assert tokenizer.decode(windows(text, tokenizer, 256, SMALL)[0]).startswith("Assistant: Hi.")


def test_windows_are_of_one_length_and_few_for_a_large_model(tokenizer: Any) -> None:
    """256 tokens or the context each; the larger the model, the fewer, down to a floor."""
    small, large = (windows(SHIPPED, tokenizer, 256, cost) for cost in (SMALL, LARGE))
    assert {len(window) for window in small} == {256}
    assert large == small[: FEWEST_TOKENS // 256]
    assert {len(window) for window in windows(SHIPPED, tokenizer, 64, SMALL)} == {64}


def test_of_a_long_text_no_more_is_encoded_than_is_read() -> None:
    """A gigabyte would take minutes, for the thousand tokens that a large model reads."""

    class Words:
        chat_template = None
        passages = 0

        def encode(self, text: str) -> list[int]:
            self.passages += 1
            return [len(word) for word in text.split()]

    tokenizer = Words()
    text = CalibrationText("long", "\n\n".join(["word " * 100] * 50))
    found = windows(text, tokenizer, 256, LARGE)
    assert [len(window) for window in found] == [256] * (FEWEST_TOKENS // 256)
    assert tokenizer.passages == -(-FEWEST_TOKENS // 100)


def test_a_given_text_comes_before_the_shipped_one(tokenizer: Any) -> None:
    """A short text of the user's is read whole, and the shipped one fills the rest."""
    found = windows(CalibrationText("mine", "Hello, how are you?"), tokenizer, 256, SMALL)
    assert tokenizer.decode(found[0]).startswith("Hello, how are you?")
    assert len(found) >= len(windows(SHIPPED, tokenizer, 256, SMALL))


def test_nothing_the_judge_reads_was_seen_before() -> None:
    """No line of the judge's passage is in a calibration text that ships."""
    own = default_text(Path("models/house/checkpoint"))
    assert own is not SHIPPED
    for line in filter(None, [*PASSAGE.splitlines(), *"\n".join(PASSAGES.values()).splitlines()]):
        assert line not in SHIPPED.text
        assert line not in own.text


def test_a_checkpoint_without_a_text_of_its_own_gets_the_shipped_one(tmp_path: Path) -> None:
    """Known by name and hash."""
    assert default_text(tmp_path) is SHIPPED
    assert SHIPPED.fingerprint.startswith("calibration.txt, sha256 ")


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "cannot be read"), (b"ab\xff", "is not UTF-8 text, byte 2"), (b" \n", "is empty")],
)
def test_what_is_no_text_is_refused(content: bytes | None, said: str, tmp_path: Path) -> None:
    """The message names the option and the file."""
    file = tmp_path / "mine.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ExportError, match=rf"--calibration: .*mine\.txt {said}"):
        read_text(file)


def test_a_folder_is_no_text(tmp_path: Path) -> None:
    """Not a traceback."""
    with pytest.raises(ExportError, match=r"--calibration: .* cannot be read: Is a directory"):
        read_text(tmp_path)
