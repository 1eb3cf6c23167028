"""Who runs against whom: the contenders, declared as data.

Knows which module drives a contender, in which environment, with which model files. Does not know how
either is made or measured. To add one: a worker in `bench/workers`, an entry here, and its files in
`bench/artifacts.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Contender:
    """One column of the table."""

    key: str
    title: str
    environment: str  # folder under .venv
    worker: str  # module under bench/workers
    artifact: str  # what it loads, as named in bench/artifacts.py
    options: Mapping[str, Any] = field(default_factory=dict)
    own_drafts: bool = False  # drafts are on in every scenario, as they are for its users
    lookups: tuple[int, ...] = ()  # longest drafts to try on text that repeats itself
    single: bool = False  # measured with one thread, too
    start_only: bool = False
    rounds: int | None = None  # a slow one, far behind, takes part in so many rounds only

    @property
    def python(self) -> Path:
        """The interpreter of its environment."""
        return Path(".venv") / self.environment / "bin" / "python"


CONTENDERS: tuple[Contender, ...] = (
    Contender(
        "ours-exact", "Dormouse, exact", "run", "ours", "ours", {"mode": "exact"},
        own_drafts=True, lookups=(0,), single=True,
    ),
    Contender(
        "ours-fast", "Dormouse, fast", "run", "ours", "ours", {"mode": "fast"},
        own_drafts=True, lookups=(0,), single=True,
    ),
    Contender(
        "llama-pure", "llama.cpp Q4_0 pure", "bench-llama", "llama", "gguf-q4_0-pure",
        lookups=(2, 10), single=True,
    ),
    Contender("llama-q4_0", "llama.cpp Q4_0", "bench-llama", "llama", "gguf-q4_0"),
    Contender("llama-q8_0", "llama.cpp Q8_0", "bench-llama", "llama", "gguf-q8_0", rounds=3),
    Contender(
        "genai-same", "onnxruntime-genai, our block", "bench-genai", "genai", "genai-same", single=True
    ),
    Contender("genai-stock", "onnxruntime-genai, stock int4", "bench-genai", "genai", "genai-stock"),
    Contender(
        "openvino", "OpenVINO GenAI int4", "bench-openvino", "openvino", "openvino",
        {"cache": "build/bench/openvino-cache"},
    ),
    Contender(
        "optimum", "optimum ORTModel", "dev", "hugging_face", "optimum", {"runtime": "optimum"}, rounds=3
    ),
    Contender(
        "transformers", "transformers, PyTorch", "dev", "hugging_face", "checkpoint",
        {"runtime": "torch", "dtype": "float32"}, rounds=3,
    ),
    Contender(
        "ours-handler", "Dormouse, whole handler", "run", "handler", "ours",
        {"sessions": "build/bench/sessions.sqlite3"}, start_only=True,
    ),
)  # fmt: skip
