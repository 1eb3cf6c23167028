"""From a bundle's files to an Engine, with nothing served that was not verified.

Small files and the graph are hashed and parsed from the same bytes in memory; a folder's weights are mapped
by ONNX Runtime while they are hashed, and the engine is handed out only when the hashes agree. Owns the order
of things at a start: first what threads can go on with by themselves, then the imports, one after the other.
Knows nothing of where the files come from, nor of what happens with the engine afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from handler.background import Background
from handler.engine.bundle import CARD_FILE, PACKED_FILE, TEMPLATE_FILE, TOKENIZER_FILE
from handler.engine.files import BundleFiles
from handler.errors import BundleError

if TYPE_CHECKING:
    from handler.engine.engine import Engine
    from handler.engine.generate import Model

# Up to here all threads pack weights: 35 ms of 305 sooner at 77 MB, and what is resident twice meanwhile is
# less than the first long prompt takes. At 265 MB it is 10 ms of 520, and 170 MB more at the peak.
PARALLEL_BYTES = 128 << 20


class Loading:
    """A bundle being loaded: the weights by two threads, the rest when the engine is asked for."""

    def __init__(
        self, files: BundleFiles, threads: int | None = None, *, exact: bool = True, alone: bool = False
    ) -> None:
        """Raises: BundleError when the graph is wrong."""
        self._files, self._manifest, self._exact = files, files.manifest, exact
        manifest = self._manifest
        tokenizer_file = PACKED_FILE if PACKED_FILE in manifest.files else TOKENIZER_FILE
        parsed = {manifest.graph.file, tokenizer_file, TEMPLATE_FILE, CARD_FILE}
        mapped = manifest.files.keys() - parsed
        self._verified = Background(lambda: files.verify(mapped))
        self._threads: list[Background[Any]] = [self._verified]
        with self._settled():
            self._model = Background(_model_opener(files, mapped - {TOKENIZER_FILE}, threads, exact, alone))
            self._threads.append(self._model)

    def engine(self, *, for_chat: bool = False) -> Engine:
        """Wait for the engine; `for_chat`: with the chat template compiled meanwhile.

        Raises: BundleError naming the file that is damaged.
        """
        with self._settled():
            tokenizer = _open_tokenizer(self._files)
            prompt = _open_prompt(self._files, tokenizer)
            if for_chat:
                prompt.prepare()
            from handler.engine.engine import Engine

            self._verified.result()  # first: damaged weights are the reason, whatever came of the session
            exact = self._exact and self._manifest.exact
            card = _read_card(self._files)
            engine = Engine(self._manifest, self._model.result(), prompt, tokenizer, exact=exact, card=card)
        self._files.close()
        return engine

    @contextmanager
    def _settled(self) -> Iterator[None]:
        """Let no error out while threads still read files, which the caller may be about to replace."""
        try:
            yield
        except BaseException:
            self._files.close()
            for thread in self._threads:
                thread.wait()
            raise


def _model_opener(
    files: BundleFiles, mapped: Set[str], threads: int | None, exact: bool, alone: bool
) -> Callable[[], Model]:
    """Import ONNX Runtime at once, undisturbed by other imports; give the call that makes the model."""
    from handler.engine import ort

    manifest = files.manifest
    graph = files.read(manifest.graph.file)
    fused = manifest.graph.cache == "shared"
    in_parallel = alone and sum(file.size_bytes for file in manifest.files.values()) <= PARALLEL_BYTES

    def open_model() -> Model:
        session = ort.open_session(
            graph,
            files.weights(mapped),
            files.path(manifest.graph.file),
            threads=threads,
            optimize=not fused,
            in_parallel=in_parallel,
            exact=exact,
        )
        if fused:
            return ort.OrtModel(session, manifest, exact=exact)
        from handler.engine import ort_concat

        return ort_concat.ConcatModel(session, manifest)

    return open_model


def _open_tokenizer(files: BundleFiles) -> Any:
    if PACKED_FILE in files.manifest.files:
        return _open_packed(files)
    content = files.read(TOKENIZER_FILE)
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_buffer(content)
    except Exception as error:  # tokenizers raises plain Exception
        raise BundleError(f"{files.path(TOKENIZER_FILE)}: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _open_packed(files: BundleFiles) -> Any:
    content = files.read(PACKED_FILE)
    from handler.engine.vocabulary import PackedTokenizer

    try:
        return PackedTokenizer(content, lambda: files.read(TOKENIZER_FILE).decode("utf-8"))
    except Exception as error:  # tokenizers raises plain Exception
        raise BundleError(f"{files.path(PACKED_FILE)}: {error}") from error


def _read_card(files: BundleFiles) -> str | None:
    return files.read(CARD_FILE).decode("utf-8") if CARD_FILE in files.manifest.files else None


def _open_prompt(files: BundleFiles, tokenizer: Any) -> Any:
    from handler.engine.prompt import ChatPrompt
    from handler.engine.template import ChatTemplate

    if TEMPLATE_FILE not in files.manifest.files:
        return ChatPrompt(tokenizer, None)
    source = files.read(TEMPLATE_FILE).decode("utf-8")
    return ChatPrompt(tokenizer, ChatTemplate(source, files.manifest.tokens.template_tokens))
