"""What a start may import: every module here costs every cold start; what is not here needs a reason."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

# Until the engine's first token, from text to text.
ENGINE = """
    background engine engine.bundle engine.control engine.engine engine.files engine.filters engine.generate
    engine.integrity engine.loader engine.lookup engine.ort engine.penalties engine.prompt engine.sampling
    engine.steps engine.strict
    engine.template engine.text engine.token_bytes engine.values engine.vocabulary engine.warm errors
"""
ENGINE_PACKAGES = "handler numpy onnxruntime tokenizers"
ENGINE_LIBRARY = """
    array ast base64 binascii bisect collections contextlib contextvars copy copyreg ctypes dataclasses
    datetime dis enum errno fnmatch functools hashlib heapq hmac importlib inspect ipaddress itertools
    json keyword linecache math mmap ntpath numbers opcode operator pathlib pickle platform random re
    reprlib secrets struct textwrap threading token tokenize types typing urllib warnings weakref
"""
# Until the whole function is ready for its first event, with sessions in SQLite.
FUNCTION_PACKAGES = """
    annotated_types aws_lambda_powertools botocore jinja2 jmespath markupsafe pydantic pydantic_core
    typing_extensions typing_inspection
"""
FUNCTION_LIBRARY = """
    asyncio atexit bz2 calendar concurrent csv decimal difflib email encodings fcntl fractions gc gzip
    http locale logging lzma pprint quopri select selectors shutil signal socket sqlite3 ssl string subprocess
    sysconfig
    tempfile traceback uuid zipfile zlib zoneinfo
"""
FIRST_TOKEN = """
engine = load(sys.argv[1], threads=1)
ids = engine.prompt.encode_text("Hello")
tokens = engine.generate(ids, engine.params(temperature=0), max_tokens=1)
"".join(piece.text for piece in TextStream(tokens, engine.tokenizer))
"""


def imported(program: str, *arguments: str, **environment: str) -> set[str]:
    """Run a program in a fresh process; give what it imported, as far as the interpreter had not already."""
    program = f"import sys\nbefore = set(sys.modules)\n{program}\nprint(*sorted(set(sys.modules) - before))"
    command = [sys.executable, "-c", program, *arguments]
    environment = {**os.environ, **environment}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def intruders(modules: set[str], allowed: str) -> set[str]:
    """Packages that are not in the list; private parts of the standard library come with their owners."""
    packages = {name.partition(".")[0] for name in modules}
    return {name for name in packages if not name.startswith("_")} - set(allowed.split())


@pytest.fixture(scope="module")
def first_token(tiny_bundle: Callable[..., Path]) -> set[str]:
    """What load and first token import."""
    program = "from handler.engine import load\nfrom handler.engine.text import TextStream\n" + FIRST_TOKEN
    return imported(program, str(tiny_bundle("llama", "int4")))


@pytest.fixture(scope="module")
def function(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What the function imports while it is imported."""
    sessions = tmp_path_factory.mktemp("sessions") / "sessions.sqlite3"
    return imported("import handler.function", DORMOUSE_SESSIONS=str(sessions), DORMOUSE_THREADS="1")


def test_the_first_token_needs_no_other_package(first_token: set[str]) -> None:
    """Neither jinja2 nor AWS; of the standard library no asyncio, logging, sockets or processes."""
    assert intruders(first_token, ENGINE_PACKAGES + ENGINE_LIBRARY) == set()


def test_the_first_token_needs_no_other_module_of_ours(first_token: set[str]) -> None:
    """No module of another kind of model, tokenizer or request."""
    ours = {name.removeprefix("handler.") for name in first_token if name.startswith("handler.")}
    assert ours - set(ENGINE.split()) == set()


def test_the_function_needs_no_other_package(function: set[str]) -> None:
    """No boto3 off the cloud, no server, no package of the build machine."""
    allowed = ENGINE_PACKAGES + ENGINE_LIBRARY + FUNCTION_PACKAGES + FUNCTION_LIBRARY
    assert intruders(function, allowed) == set()


def test_the_function_leaves_the_cloud_s_client_alone(function: set[str]) -> None:
    """Botocore's bare package comes with Powertools; its machinery does not."""
    assert {name for name in function if name.startswith(("botocore.", "boto3"))} == set()


def test_random_numbers_wait_for_a_draw(first_token: set[str]) -> None:
    """NumPy loads its generators when one is asked for, and a greedy answer asks for none."""
    assert "numpy.random" not in first_token
