"""What a model would take on AWS Lambda: memory, money, and the ways to package it.

Owns Lambda's limits and the estimate of a price. What a model takes was measured here; a Lambda CPU is
another one, so that times and with them costs are estimates.

Source: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html (memory and CPU)
https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html
"""

from __future__ import annotations

from dataclasses import dataclass

from export.speed import Speed
from handler.engine.ort import usable_cores
from handler.prices import GB_SECOND_USD, MIB_PER_VCPU, REQUEST_USD
from infra.artifact import UNZIPPED_LIMIT_BYTES

DEPENDENCY_BYTES = 115_000_000  # unzipped and pruned, x86_64 (ADR 51)
RUNTIME_IMAGE_BYTES = 600_000_000  # AWS's base image for Python, unpacked
IMAGE_LIMIT_BYTES = 10 << 30
MOST_MEMORY_MIB = 10_240
HEADROOM = 1.25  # over the peak measured
FROM_S3 = 3.5  # times its size a bundle takes that comes from S3, and not from a folder as measured (ADR 55)

PROMPT_BYTES, ANSWER_BYTES = 1000, 600  # of one answer: some 250 and 150 tokens of English
ANSWERS = 1000


@dataclass(frozen=True)
class Fit:
    """One model on Lambda."""

    memory_mib: int
    usd_per_1000: float
    packaging: dict[str, bool]


def fit(bundle_bytes: int, speed: Speed, bytes_per_token: float) -> Fit:
    """The memory it gets, the price of a thousand warm answers, and which ways of packaging hold it."""
    needed_mib = speed.peak_bytes * HEADROOM / 2**20
    memory_mib = max(round(needed_mib), MIB_PER_VCPU * min(usable_cores(), MOST_MEMORY_MIB // MIB_PER_VCPU))
    fits_memory = needed_mib <= MOST_MEMORY_MIB
    zipped = fits_memory and bundle_bytes + DEPENDENCY_BYTES <= UNZIPPED_LIMIT_BYTES
    from_s3 = fits_memory and FROM_S3 * bundle_bytes <= MOST_MEMORY_MIB << 20
    image = bundle_bytes + DEPENDENCY_BYTES + RUNTIME_IMAGE_BYTES <= IMAGE_LIMIT_BYTES
    packaging = {
        "zip": zipped,
        "image": fits_memory and image,
        "S3": from_s3,  # read into memory at the start; the zip holds the code alone
        "SnapStart": zipped or from_s3,  # never with an image
    }
    return Fit(memory_mib, _usd(memory_mib, speed, bytes_per_token), packaging)


def _usd(memory_mib: int, speed: Speed, bytes_per_token: float) -> float:
    prefill_s = PROMPT_BYTES / bytes_per_token / speed.prefill_tokens_per_s
    decode_s = ANSWER_BYTES / bytes_per_token / speed.decode_tokens_per_s
    return ANSWERS * (memory_mib / 1024 * (prefill_s + decode_s) * GB_SECOND_USD + REQUEST_USD)
