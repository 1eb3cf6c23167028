"""The golden transcript: what the bundle answered on the build machine, to be replayed by whoever loads it.

Owns `golden.json`. Answers are greedy, so that they depend on the weights and kernels alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from handler.engine import load

GOLDEN_FILE = "golden.json"
QUESTIONS = ("Hello, how are you?", "你好，你是谁？", "1 + 1 =")
ANSWER_TOKENS = 16


def write_golden(folder: Path) -> list[dict[str, Any]]:
    """Answer the golden questions with the bundle in `folder` and write the transcripts beside it."""
    engine = load(folder, threads=1)  # the bits are the same; a busy build machine likes one better
    transcripts = []
    for question in QUESTIONS:
        prompt = engine.prompt.encode([{"role": "user", "content": question}])
        room = engine.manifest.context_tokens - len(prompt)
        if room < 1:  # a context too small for a template around a question
            continue
        answer = engine.generate(
            prompt, engine.params(temperature=0), max_tokens=min(ANSWER_TOKENS, room), speculate=False
        )
        generated = [token.id for token in answer]
        transcripts.append(
            {
                "question": question,
                "prompt_ids": prompt,
                "generated_ids": generated,
                "text": engine.tokenizer.decode(generated),
            }
        )
    content = json.dumps({"format": 1, "transcripts": transcripts}, ensure_ascii=False, indent=1)
    (folder / GOLDEN_FILE).write_text(content + "\n", encoding="utf-8")
    return transcripts
