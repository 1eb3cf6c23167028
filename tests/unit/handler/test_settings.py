"""The environment is read once, strictly, and the README's table is what is read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from handler.errors import SettingsError
from handler.settings import Settings, fill_in, read_settings, variables

ROOT = Path(__file__).parents[3]


def test_defaults() -> None:
    """An empty environment, and empty variables, give the defaults."""
    assert read_settings({}) == Settings()
    assert read_settings({"DORMOUSE_TABLE": "", "HOME": "/", "DORMOUSE_THREADS": ""}) == Settings()


def test_every_problem_is_told_at_once() -> None:
    """All that is wrong comes in one message, with the name that was probably meant."""
    environment = {
        "DORMOUSE_STREAMNG": "1",
        "DORMOUSE_THREADS": "many",
        "DORMOUSE_GATEWAY_TIMEOUT_S": "nan",
        "DORMOUSE_STREAMING": "yes",
        "DORMOUSE_DYNAMODB_ENDPOINT": "localhost:8000",
        "DORMOUSE_SESSIONS": "dynamodb",
    }
    with pytest.raises(SettingsError) as raised:
        read_settings(environment)
    message = str(raised.value)
    assert "is DORMOUSE_STREAMING meant?" in message
    assert "DORMOUSE_TABLE: needed" in message
    for name in environment.keys() - {"DORMOUSE_SESSIONS"}:
        assert name in message


@pytest.mark.parametrize(
    "text",
    ["http://dynamodb_local:8000", "http://localhost:abc", "http://localhost:99999", "http://", "ftp://a"],
)
def test_an_address_that_nobody_can_call_is_refused(text: str) -> None:
    """At the start, and not by the first stored turn."""
    with pytest.raises(SettingsError, match="DORMOUSE_DYNAMODB_ENDPOINT"):
        read_settings({"DORMOUSE_DYNAMODB_ENDPOINT": text})


@pytest.mark.parametrize("text", ["http://localhost:8000", "https://db.example.com", "http://[::1]:8000"])
def test_an_address_is_taken_as_it_is(text: str) -> None:
    """Host names, with or without a port, and addresses."""
    assert read_settings({"DORMOUSE_DYNAMODB_ENDPOINT": text}).dynamodb_endpoint == text


def test_a_tilde_is_the_home() -> None:
    """In every path: a shell leaves it alone behind `--sessions=`."""
    found = read_settings({"DORMOUSE_SESSIONS": "~/chat.sqlite3", "DORMOUSE_KEYS": "~/keys.json"})
    home = str(Path.home())
    assert (found.sessions, found.keys) == (f"{home}/chat.sqlite3", f"{home}/keys.json")
    assert read_settings({"DORMOUSE_KEYS": "platform"}).keys == "platform"
    with pytest.raises(SettingsError, match=r"DORMOUSE_BUNDLE=.*no home"):
        read_settings({"DORMOUSE_BUNDLE": "~nobody-of-this-name/x"})


@pytest.mark.parametrize("text", ["-1", "1.5", "1e3", "٣", "257"])
def test_whole_numbers(text: str) -> None:
    """A whole number is ASCII digits within its range, nothing else."""
    with pytest.raises(SettingsError):
        read_settings({"DORMOUSE_THREADS": text})


@pytest.mark.parametrize("field", ["GATEWAY_TIMEOUT_S", "GATEWAY_STREAM_TIMEOUT_S"])
def test_a_margin_leaves_time_for_an_answer(field: str) -> None:
    """One that is as long as a limit would make every answer empty: both are named, with their values."""
    environment = {"DORMOUSE_DEADLINE_MARGIN_MS": "20000", f"DORMOUSE_{field}": "20"}
    with pytest.raises(SettingsError, match=rf"DEADLINE_MARGIN_MS=20000.*{field}=20\b"):
        read_settings(environment)
    assert read_settings({**environment, "DORMOUSE_DEADLINE_MARGIN_MS": "19999"})
    with pytest.raises(SettingsError, match=r"GATEWAY_TIMEOUT_S=29\b"):
        read_settings({"DORMOUSE_DEADLINE_MARGIN_MS": "29000"})


def test_what_is_set_goes_before_what_is_filled_in() -> None:
    """And an empty variable is not set."""
    environment = {"DORMOUSE_STREAMING": "", "DORMOUSE_GATEWAY_TIMEOUT_S": "60"}
    fill_in(environment, streaming=1, gateway_timeout_s=900, gateway_stream_timeout_s=480)
    found = read_settings(environment)
    assert (found.streaming, found.gateway_timeout_s, found.gateway_stream_timeout_s) == (True, 60, 480)


def test_lambda_facts() -> None:
    """What Lambda itself says is read too."""
    environment = {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769", "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}
    settings = read_settings(environment)
    assert settings.memory_mib == 1769
    assert settings.snapshot


@pytest.mark.parametrize(
    ("memory", "threads"), [("512", 1), ("1769", 1), ("3537", 1), ("3538", 2), ("10240", 5)]
)
def test_a_function_has_a_thread_for_each_whole_vcpu(memory: str, threads: int) -> None:
    """Lambda shows two cores to a function that pays for one; a thread for each would halve its speed."""
    environment = {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": memory}
    assert read_settings(environment).model_threads == threads
    assert read_settings({**environment, "DORMOUSE_THREADS": "3"}).model_threads == 3
    assert read_settings({}).model_threads is None


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_readme_lists_them(name: str) -> None:
    """The README's table names every variable and no other; the English one explains it in the code's
    words."""
    rows = re.findall(r"^\| `(DORMOUSE_\w+)` \|[^|]*\| (.*) \|$", (ROOT / name).read_text(), re.MULTILINE)
    assert {variable for variable, _ in rows} == set(variables())
    if name == "README.md":
        assert dict(rows) == {variable: setting.help for variable, (_, setting) in variables().items()}
