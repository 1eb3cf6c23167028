"""From a bundle folder to an Engine, with nothing served that was not verified.

Small files and the graph are hashed and parsed from the same bytes in memory; weights are mapped by ONNX
Runtime while they are hashed, and the engine is handed out only when the hashes agree. The session is created
in a thread while tokenizer and template load. Knows nothing of what happens with the engine afterwards.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from handler.engine import integrity
from handler.engine.bundle import Manifest, read_manifest
from handler.engine.engine import Engine
from handler.engine.generate import Model
from handler.errors import BundleError

TOKENIZER = "tokenizer.json"
TEMPLATE = "chat_template.jinja"


def load(folder: Path, threads: int | None = None) -> Engine:
    """Load and verify a bundle; see `handler.engine.load`."""
    manifest = read_manifest(folder)
    integrity.check_sizes(folder, manifest.files)
    parsed = {manifest.graph.file, TOKENIZER, TEMPLATE}
    with ThreadPoolExecutor(max_workers=2) as pool:
        model = pool.submit(_open_model, folder, manifest, threads)
        mapped = pool.submit(integrity.verify, folder, manifest.files, manifest.files.keys() - parsed)
        tokenizer = _open_tokenizer(folder, manifest)
        prompt = _open_prompt(folder, manifest, tokenizer)
        mapped.result()  # first: damaged weights are the reason, whatever the session made of them
        return Engine(manifest, model.result(), prompt, tokenizer)


def _open_model(folder: Path, manifest: Manifest, threads: int | None) -> Model:
    graph = integrity.read(folder, manifest.files, manifest.graph.file)
    from handler.engine import ort, ort_concat  # in this thread: importing ONNX Runtime takes a while

    fused = manifest.graph.cache == "shared"
    session = ort.open_session(graph, folder, manifest.graph.file, threads=threads, optimize=not fused)
    return ort.OrtModel(session, manifest) if fused else ort_concat.ConcatModel(session, manifest)


def _open_tokenizer(folder: Path, manifest: Manifest) -> Any:
    content = integrity.read(folder, manifest.files, TOKENIZER)
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_buffer(content)
    except Exception as error:  # tokenizers raises plain Exception
        raise BundleError(f"{folder / TOKENIZER}: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _open_prompt(folder: Path, manifest: Manifest, tokenizer: Any) -> Any:
    from handler.engine.prompt import ChatPrompt
    from handler.engine.template import ChatTemplate

    if TEMPLATE not in manifest.files:
        return ChatPrompt(tokenizer, None)
    source = integrity.read(folder, manifest.files, TEMPLATE).decode("utf-8")
    return ChatPrompt(tokenizer, ChatTemplate(source, manifest.tokens.template_tokens))
