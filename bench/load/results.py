"""What a load run found, from the samples of its answers. Knows no processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from infra.report.day import quantiles

Sample = dict[str, Any]


def summarize(samples: Sequence[Sample], seconds: float) -> dict[str, Any]:
    """Figures of all answers, of each kind of conversation, and of cold and warm ones; times in ms."""
    done = [each for each in samples if "failed" not in each]
    return {
        "seconds": round(seconds, 1),
        "answers": len(done),
        "answers_per_s": round(len(done) / seconds, 2),
        "failures": dict(Counter(each["failed"] for each in samples if "failed" in each)),
        "sent_again_after_429": sum(each.get("throttled", 0) for each in samples),
        "output_tokens": sum(each["receipt"]["output_tokens"] for each in done),
        "cached_prompt_share": _cached(done),
        "all": _spread(done),
        "cold": _spread([each for each in done if each["cold"]]),
        "warm": _spread([each for each in done if not each["cold"]]),
        "kinds": {
            kind: _spread([each for each in done if each["kind"] == kind])
            for kind in sorted({each["kind"] for each in done})
        },
    }


def _spread(samples: Sequence[Sample]) -> dict[str, Any]:
    speeds = [each["receipt"]["tokens_per_s"] for each in samples]
    return {
        "answers": len(samples),
        "time_to_first_token_ms": quantiles([each["first_s"] * 1000 for each in samples if each["first_s"]]),
        "whole_answer_ms": quantiles([each["whole_s"] * 1000 for each in samples]),
        "decode_tokens_per_s": quantiles([speed for speed in speeds if speed]),
    }


def _cached(samples: Sequence[Sample]) -> float | None:
    prompts = sum(each["receipt"]["prompt_tokens"] for each in samples)
    cached = sum(each["receipt"]["cached_tokens"] for each in samples)
    return round(cached / prompts, 3) if prompts else None
