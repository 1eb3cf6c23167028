"""What people do to a sentence before they send it: capitals, marks, small words, slips of the finger.

Knows nothing of topics. The told values inside a sentence are never changed here: they are put in afterwards.
"""

import random

_EN_QUESTION = frozenset(
    [
        *(
            "what",
            "what's",
            "whats",
            "how",
            "why",
            "who",
            "who's",
            "when",
            "where",
            "where's",
            "which",
            "any",
        ),
        *("is", "are", "can", "could", "do", "does", "did", "will", "would", "should", "have", "has", "am"),
    ]
)
_ZH_QUESTION = (
    "什么",
    "怎么",
    "多少",
    "哪",
    "谁",
    "吗",
    "呢",
    "几",
    "如何",
    "啥",
    "怎样",
    "是不是",
    "能不能",
)
_OPENERS = {
    "en": (
        "hi, ",
        "hello, ",
        "hey, ",
        "please, ",
        "ok, ",
        "so, ",
        "well, ",
        "um, ",
        "and ",
        "one question: ",
        "ok then, ",
    ),
    "zh": ("你好，", "请问，", "嗯，", "那个，", "好的，", "对了，", "那么，", "嘿，", "请问一下，"),
}
_CLOSERS = {
    "en": (" please", ", please", ", thanks", " thank you", " now"),
    "zh": ("，谢谢", "，谢谢你", "，好吗"),
}
_KEEP_CAPITAL = ("I", "I'm", "I'd", "LLM", "LLMs", "AWS", "API", "GPT", "BLEU", "AI", "SAM", "RNN", "ONNX")


def as_typed(sentence: str, rng: random.Random, language: str, *, typo: float = 0.0) -> str:
    """Return the sentence as somebody might type it; `typo` is the chance of one slip."""
    if rng.random() < typo:
        sentence = with_typo(sentence, rng, language)
    if rng.random() < 0.10:
        opener = rng.choice(_OPENERS[language])
        sentence = opener + sentence
    question = is_question(sentence, language)
    if question and rng.random() < 0.04:
        sentence += rng.choice(_CLOSERS[language])
    return _with_case(sentence, rng, language) + _mark(question, rng, language)


def is_question(sentence: str, language: str) -> bool:
    """Tell whether a person would end the sentence with a question mark."""
    if language == "zh":
        return any(word in sentence for word in _ZH_QUESTION)
    words = sentence.lower().split()
    return any(word in _EN_QUESTION for word in words[:2])


def with_typo(sentence: str, rng: random.Random, language: str) -> str:
    """Return the sentence with one slip in one longer word: a letter swapped, doubled, lost or replaced.

    Chinese sentences lose or double one character. Words in braces (told values) are left alone.
    """
    if language == "zh":
        places = [i for i in range(1, len(sentence) - 1) if "{" not in sentence and sentence[i] > "一"]
        if not places:
            return sentence
        i = rng.choice(places)
        return sentence[:i] + (sentence[i] * 2 if rng.random() < 0.5 else "") + sentence[i + 1 :]
    words = sentence.split(" ")
    long_words = [i for i, word in enumerate(words) if len(word) > 3 and word.isalpha()]
    if not long_words:
        return sentence
    i = rng.choice(long_words)
    words[i] = _slip(words[i], rng)
    return " ".join(words)


def _slip(word: str, rng: random.Random) -> str:
    at = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(4)
    if kind == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1:
        return word[:at] + word[at] + word[at:]
    if kind == 2:
        return word[:at] + word[at + 1 :]
    return word[:at] + rng.choice("abcdefghijklmnopqrstuvwxyz") + word[at + 1 :]


def _with_case(sentence: str, rng: random.Random, language: str) -> str:
    style = rng.random()
    if language == "zh":
        return sentence
    if style < 0.34:
        return _lowered(sentence)
    if style < 0.36 and "{" not in sentence:
        return sentence.upper()
    return sentence[:1].upper() + sentence[1:]


def _lowered(sentence: str) -> str:
    """Lower case but for the slots, whose names are lower case anyway, and {X}, {A}: values in capitals."""
    return " ".join(
        word if "{" in word or word in _KEEP_CAPITAL[3:] else word.lower() for word in sentence.split(" ")
    )


def _mark(question: bool, rng: random.Random, language: str) -> str:
    style = rng.random()
    if question:
        marks = ("？", "?") if language == "zh" else ("?", "?")
        return marks[0] if style < 0.62 else marks[1] if style < 0.68 else "??" if style < 0.70 else ""
    marks = ("。", "！") if language == "zh" else (".", "!")
    return marks[0] if style < 0.50 else marks[1] if style < 0.60 else ""
