"""A server with keys, asked by OpenAI's own client: tenants are apart, keys change while it runs."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from handler.keys import new_key, parse_key
from infra import smoke
from tests.e2e.server import ROOT, Server


class SharedServer:
    """A server that asks for keys, and the file it looks them up in."""

    def __init__(self, url: str, file: Path) -> None:
        self.url, self._file = url, file

    def keys(self, *arguments: str) -> str:
        """Run a command for keys, and return what it printed."""
        command = [sys.executable, "-m", "infra.keys", "--file", str(self._file), *arguments]
        return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()

    def client(self, key: str) -> openai.OpenAI:
        """OpenAI's client with a key."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0)


@pytest.fixture(scope="module")
def shared(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedServer]:
    folder = tmp_path_factory.mktemp("shared")
    file = folder / "keys.json"
    SharedServer("", file).keys("issue", "--tenant", "somebody")
    keys = ("--keys", str(file))
    with Server(bundle, folder / "sessions.sqlite3", folder / "log", arguments=keys) as server:
        yield SharedServer(server.url, file)


def test_tenants_are_apart(shared: SharedServer) -> None:
    """A conversation is there for its own tenant's keys, and for nobody else's."""
    alice, again, bob = (
        shared.client(shared.keys("issue", "--tenant", name)) for name in ("alice", "alice", "bob")
    )
    conversation = alice.conversations.create()
    assert again.conversations.retrieve(conversation.id).id == conversation.id
    with pytest.raises(openai.NotFoundError):
        bob.conversations.retrieve(conversation.id, extra_headers={"x-tenant": "alice"})


def test_cached_tokens_tell_nothing_of_another_tenant(shared: SharedServer, model: str) -> None:
    """Who guesses what another has said is told of no token that matches; one's own words stay warm."""
    alice, bob = (shared.client(shared.keys("issue", "--tenant", name)) for name in ("alice", "bob"))

    def ask(client: openai.OpenAI, text: str = "My PIN is 4711.") -> tuple[int, str | None]:
        answer = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": text}], max_tokens=4, seed=1
        )
        assert answer.usage is not None
        assert answer.usage.prompt_tokens_details is not None
        return answer.usage.prompt_tokens_details.cached_tokens or 0, answer.choices[0].message.content

    ask(bob, "Good morning.")
    first, again, guess = ask(alice), ask(alice), ask(bob)
    assert (first[0], guess[0]) == (0, 0)
    assert again[0] > 0
    assert first[1] == again[1] == guess[1]


def test_wrong_keys_are_refused(shared: SharedServer) -> None:
    """No request gets in without a key of the file; a typing error is told, and nothing else is."""
    key = shared.keys("issue", "--tenant", "alice")
    mistyped = key[:-1] + ("0" if key[-1] != "0" else "1")
    for wrong, words in (("none", "begins with"), (mistyped, "mistyped"), (new_key().text, "not valid")):
        with pytest.raises(openai.AuthenticationError, match=words) as refused:
            shared.client(wrong).models.list()
        assert refused.value.code == "invalid_api_key"


def test_a_rotation_needs_no_restart(shared: SharedServer) -> None:
    """Both keys are good after a rotation; a revoked one is refused with the next request."""
    old = shared.keys("issue", "--tenant", "alice")
    new = shared.keys("rotate", parse_key(old).id)
    for key in (old, new):
        assert shared.client(key).models.list().data
    shared.keys("revoke", parse_key(old).id)
    with pytest.raises(openai.AuthenticationError):
        shared.client(old).models.list()
    assert shared.client(new).models.list().data


def test_the_page_is_open(shared: SharedServer) -> None:
    """The page is for everybody: it is what asks for a key."""
    with urllib.request.urlopen(f"{shared.url}/", timeout=30) as reply:
        assert reply.status == 200


def test_the_smoke_test_passes(
    shared: SharedServer, running: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python -m infra.smoke` finds a sound server sound, with a key and without."""
    assert smoke.main([f"{running.url}/v1"]) == 0
    assert smoke.main([f"{shared.url}/v1", "--key", shared.keys("issue", "--tenant", "smoke")]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["ok"] * 2 * len(
        smoke.CHECKS
    )


def test_the_smoke_test_fails(shared: SharedServer, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a key, and where nobody listens, it says what failed, with a status that stops a rollout."""
    assert smoke.main([f"{shared.url}/v1"]) == 1
    assert "AuthenticationError" in capsys.readouterr().out
    assert smoke.main(["http://127.0.0.1:9/v1"]) == 1
    assert smoke.main([f"{shared.url}/v1", "--key", "dm-mistyped"]) == 1
    assert "letter too many" in capsys.readouterr().out
