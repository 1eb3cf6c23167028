"""Dialogues, sentences and exercises: what the composer promises of its order and its answers."""

import random
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.house import skills
from export.house.dialogue import Composer
from export.house.grammar import UnknownSlot, expand
from export.house.measures import has_facts
from export.house.noise import as_typed, in_other_words, is_question, with_typo, with_word_lost
from export.house.skills import make_ends, make_sum
from export.house.topics import LANGUAGES, load_families, load_memory
from export.house.turns import with_value


def test_choices_and_slots_are_filled() -> None:
    """Every choice and slot of a pattern is resolved, and spaces are mended."""
    seen = {expand("(a|b|) {x} end", random.Random(i), {"x": ("1", "2")}) for i in range(60)}
    assert seen == {"a 1 end", "b 1 end", "1 end", "a 2 end", "b 2 end", "2 end"}


def test_values_are_never_read_as_grammar() -> None:
    """A told value with brackets and bars stays as it is."""
    assert expand("I am {x}", random.Random(0), {}, {"x": "(a|b)"}) == "I am (a|b)"


def test_an_unknown_slot_is_named() -> None:
    """A slot that nobody fills is an error that names it."""
    with pytest.raises(UnknownSlot, match="nowhere"):
        expand("{nowhere}", random.Random(0), {})


def test_every_written_answer_states_its_key_facts() -> None:
    """Each answer of every family would itself count as right."""
    wrong = [
        (f.name, f.language, answer)
        for f in load_families()
        for answer in f.say
        if not has_facts(answer, f.facts)
    ]
    assert wrong == []


def test_every_phrasing_expands() -> None:
    """No question of any family is written with a slot left open."""
    write = Composer(random.Random(0)).write
    questions = [write.question(family).user for family in load_families() for _ in range(12)]
    assert [question for question in questions if "{" in question] == []


def test_both_languages_know_the_same_families() -> None:
    """What one language knows the other knows too, told facts included."""
    for entries in (load_families(), load_memory()):
        by_language = {lang: {e.name for e in entries if e.language == lang} for lang in LANGUAGES}
        assert by_language["en"] == by_language["zh"]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), distance=st.integers(1, 10), language=st.sampled_from(LANGUAGES))
def test_recall_asks_for_what_was_told(seed: int, distance: int, language: str) -> None:
    """The last answer states the value of the first question, after exactly so many turns."""
    dialogue = Composer(random.Random(seed), held_out=True).recall_dialogue("name", language, distance)
    value = dialogue.turns[-1].facts[0]
    assert len(dialogue.turns) == distance + 1
    assert value in dialogue.turns[0].user.lower()
    assert value in dialogue.turns[-1].reply.lower()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_recalled_value_is_the_last_one_told(seed: int) -> None:
    """In a free dialogue every recalled value stands in an earlier question, and no later one corrects it."""
    dialogue = Composer(random.Random(seed)).dialogue()
    for i, turn in enumerate(dialogue.turns):
        if turn.kind == "recall":
            told_in = dialogue.turns[i - turn.distance]
            assert turn.facts[0] in told_in.user.lower()
            assert told_in.kind in ("tell", "correct")


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_messages_alternate(seed: int) -> None:
    """Chat messages go user, assistant, user, ... after at most one system message."""
    roles = [m["role"] for m in Composer(random.Random(seed)).dialogue().messages()]
    roles = roles[1:] if roles[0] == "system" else roles
    assert roles == ["user", "assistant"] * (len(roles) // 2)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6), held_out=st.booleans(), language=st.sampled_from(LANGUAGES))
def test_sums_are_right(seed: int, held_out: bool, language: str) -> None:
    """The answer's equation holds, and nothing is negative."""
    made = make_sum(random.Random(seed), language, held_out=held_out)
    a, sign, b, result = re.match(r"(\d+) ([+-]) (\d+) = (\d+)", made.say).groups()
    assert int(result) == (int(a) + int(b) if sign == "+" else int(a) - int(b))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_sum_is_asked_among_any_words(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In training, pieces of other questions stand around it, without numbers; held out, they never do."""
    monkeypatch.setattr(skills, "_STORIES", 0.0)
    monkeypatch.setattr(skills, "_IN_WORDS", 0.0)
    monkeypatch.setattr(skills, "_AMONG_ANY", 1.0)
    around: set[str] = set()
    for seed in range(200):
        made = make_sum(random.Random(seed), language)
        a, b = re.match(r"(\d+) [+-] (\d+) =", made.say).groups()
        before, after = re.fullmatch(rf"(\D*){a}\D*?{b}(\D*)", made.ask).groups()
        around.update((before.strip(), after.strip()))
    assert len(around) > 150
    monkeypatch.setattr(skills, "_among_any", None)
    assert make_sum(random.Random(1), language, held_out=True).ask


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), language=st.sampled_from(LANGUAGES))
def test_the_end_asked_for_is_the_end_given(seed: int, language: str) -> None:
    """The first or last word in the answer stands in the question."""
    made = make_ends(random.Random(seed), language)
    assert made.fact in made.ask
    assert made.fact in made.say


def test_articles_follow_the_value() -> None:
    """An English value gets its article, also at the start of a sentence."""
    assert with_value("{A} {x} and {a} {x}", "engineer") == "An engineer and an engineer"
    assert with_value("{a} {x}", "nurse") == "a nurse"


def test_typed_sentences_keep_their_slots() -> None:
    """Whatever happens to a sentence, the place of the told value survives."""
    for i in range(300):
        rng = random.Random(i)
        assert "{x}" in as_typed("my name is {x}", rng, "en", typo=1.0)
        assert "{x}" in as_typed("我的名字是{x}", rng, "zh", typo=1.0)


def test_a_slip_changes_one_word() -> None:
    """A typo leaves all words but one as they were."""
    words = ["please", "explain", "quantization", "today"]
    for i in range(50):
        slipped = with_typo(" ".join(words), random.Random(i), "en").split()
        assert sum(a != b for a, b in zip(words, slipped, strict=True)) <= 1


def test_other_words_mean_the_same() -> None:
    """Only whole words that have others are exchanged, at most three, and never the told value."""
    english = {in_other_words("how do I stop {delete} quickly", random.Random(i), "en") for i in range(300)}
    assert "how do I halt {delete} quickly" in english
    assert all("{delete}" in sentence for sentence in english)
    assert in_other_words("unstoppable {x}", random.Random(0), "en") == "unstoppable {x}"
    chinese = {in_other_words("为什么要删除{x}", random.Random(i), "zh") for i in range(300)}
    assert "为啥要删掉{x}" in chinese
    assert all("{x}" in sentence and "要" in sentence for sentence in chinese)


@pytest.mark.parametrize("file", ["alike", "kinds"])
def test_words_exchanged_are_several_and_different(file: str) -> None:
    """Every group of words that stand for one another has at least two, none twice; no group comes twice."""
    written = tomllib.loads(Path(f"export/house/words/{file}.toml").read_text(encoding="utf-8"))
    for language in LANGUAGES:
        groups = [frozenset(group.split("|")) for group in written[language]]
        assert len(groups) == len(set(groups))
    for group in (*written["en"], *written["zh"]):
        words = group.split("|")
        assert len(words) == len(set(words)) > 1, group
        assert all(word == word.strip() != "" for word in words), group


@pytest.mark.parametrize(
    ("sentence", "language", "kept"),
    [
        ("please show me what make test checks", "en", ("make test",)),
        ("explain make chat, what is it", "en", ("make chat,",)),
        ("can I run sam delete quickly", "en", ("sam delete",)),
        ("is the bot slow after a cold start", "en", ("cold start",)),
        ("how to explain cloud computing", "en", ("cloud computing",)),
        ("tell me about a large language model", "en", ("large language model",)),
        ("is the bot open source", "en", ("open source",)),
        ("can I use a chatbot in customer service", "en", ("chatbot", "customer service")),
        ("how big is the context window", "en", ("context window",)),
        ("怎么避免冷启动", "zh", ("冷启动",)),
        ("什么是大语言模型和云计算", "zh", ("大语言模型", "云计算")),
        ("解释神经网络和人工智能", "zh", ("神经网络", "人工智能")),
        ("今天我的自行车丢了怎么办", "zh", ("自行车", "怎么办")),
        ("麻烦你告诉我聊天机器人是什么", "zh", ("麻烦你", "聊天机器人")),
        ("怎么用AutoGPU的GPUs和chat GPU", "zh", ("AutoGPU", "GPUs", "chat GPU")),
        ("她喜不喜欢这个公司", "zh", ("喜不喜欢",)),
        ("需不需要电脑", "zh", ("需不需要",)),
        ("她喜欢不喜欢今天", "zh", ("喜欢不喜欢",)),
    ],
)
def test_commands_and_names_of_things_are_never_exchanged(
    sentence: str, language: str, kept: tuple[str, ...]
) -> None:
    """Other words of the sentence make room for others, these never do."""
    made = {in_other_words(sentence, random.Random(i), language) for i in range(200)}
    assert made != {sentence}
    assert [s for s in made if not all(phrase in s for phrase in kept)] == []


def test_a_whole_yes_or_no_is_exchanged() -> None:
    """What asks "can or cannot" stands in a group itself, and goes as one."""
    made = {in_other_words("能不能唱", random.Random(i), "zh") for i in range(100)}
    assert {"可不可以唱", "能否唱"} <= made


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_question_of_a_family_loses_what_is_kept(language: str) -> None:
    """Every kept phrase of a question stands in it as often after its words were exchanged."""
    written = tomllib.loads(Path("export/house/words/alike.toml").read_text(encoding="utf-8"))
    phrases = [phrase for line in written["kept"][language] for phrase in line.split("|")]
    edge = r"(?<!\S)(?:{})(?![^\s,.;:?!])" if language == "en" else "{}"
    kept = [re.compile(edge.format(re.escape(phrase)), re.IGNORECASE) for phrase in phrases]
    rng = random.Random(0)
    write = Composer(rng).write
    for family in load_families():
        for _ in range(3 if family.language == language else 0):
            asked = write.words.question(family, {slot: f"{{{slot}}}" for slot in family.fill})
            made = in_other_words(asked, rng, language)
            lost = [one.pattern for one in kept if len(one.findall(made)) < len(one.findall(asked))]
            assert lost == [], (asked, made)


@pytest.mark.parametrize(
    ("sentence", "language", "kept", "most"),
    [
        ("how do I freeze {x} without a freezer", "en", ("{x}", "without"), 2),
        ("为什么不能送{x}给我的同事", "zh", ("{x}", "不"), 2),
        ("make me laugh", "en", ("make", "me", "laugh"), 0),
        ("讲个笑话", "zh", tuple("讲个笑话"), 0),
    ],
)
def test_a_hurried_sentence_keeps_what_decides(
    sentence: str, language: str, kept: tuple[str, ...], most: int
) -> None:
    """One or two words are left out, never a told value, never a "not", and none of a short sentence."""
    units = len if language == "zh" else lambda text: len(text.split())
    lost = set()
    for seed in range(200):
        made = with_word_lost(sentence, random.Random(seed), language)
        assert all(word in made for word in kept)
        lost.add(units(sentence) - units(made))
    assert lost == ({1, 2} if most else {0})


def test_questions_are_known_in_both_languages() -> None:
    """Question words decide the mark at the end."""
    assert is_question("how do I deploy it", "en")
    assert not is_question("my name is Ada", "en")
    assert is_question("你叫什么", "zh")
    assert not is_question("我叫小明", "zh")


def test_the_part_in_english_is_as_asked_for() -> None:
    """So much of what is composed begins in English, but for who changes the language at once."""
    for english in (0.0, 0.75, 1.0):
        composer = Composer(random.Random(5), english=english)
        made = [composer.dialogue() for _ in range(100)] + [composer.questions() for _ in range(300)]
        part = sum(dialogue.turns[0].language == "en" for dialogue in made) / len(made)
        assert part == pytest.approx(english, abs=0.08)
