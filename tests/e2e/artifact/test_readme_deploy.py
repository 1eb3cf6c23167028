"""The README's chapter on deployment, followed word by word against an AWS server on this machine.

A reader with an account differs from this one by the credentials and by the address of AWS, which are in the
environment. Every question is answered with yes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tests.e2e.artifact.local_cloud import Cloud, local_cloud
from tests.readme import deployment, examples
from tests.stack import PROJECT

STACK = "dormouse"
pytestmark = pytest.mark.timeout(3_600)  # the chapter builds and deploys three times
YES = "y\n" * 10


@dataclass
class Reader:
    """Somebody who types the blocks into one shell, one after another, and what they see."""

    environment: dict[str, str]
    folder: Path
    printed: list[tuple[str, str]] = field(default_factory=list)

    def type(self, language: str, text: str) -> None:
        """Type one block; what it sets is there for the next one."""
        kept = self.folder / "environment"
        if language == "bash":
            command = ["bash", "-aeuo", "pipefail", "-c", f"{text}\nenv -0 > {kept}"]
        else:
            command = [sys.executable, "-c", text]
        done = subprocess.run(
            command, cwd=PROJECT, env=self.environment, input=YES, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, text + done.stdout[-4000:] + done.stderr[-4000:]
        self.printed.append((text, done.stdout))
        if language == "bash":
            self.environment = dict(line.split("=", 1) for line in kept.read_text().split("\0") if line)

    def saw(self, command: str) -> str:
        """What the blocks with this command have printed."""
        return "".join(out for text, out in self.printed if command in text)


@dataclass
class Followed:
    """The chapter, followed to its end, and the memory after each deployment."""

    reader: Reader
    cloud: Cloud
    memory_mib: list[int]


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Followed]:
    """The whole chapter: the functions are at work between a deployment and the next, as Lambda has them."""
    work = tmp_path_factory.mktemp("readme")
    with local_cloud(STACK, work) as cloud, ExitStack() as lambdas:
        built = work / "build"
        reader = Reader({**os.environ, **cloud.environment, "SAM_BUILD": str(built)}, work)
        after = Followed(reader, cloud, [])
        for language, text in examples(deployment("README.md")):
            reader.type(language, text)
            if "make deploy" in text:
                lambdas.close()
                lambdas.enter_context(cloud.at_work(built, work))
                after.memory_mib.append(cloud.function("Function")["MemorySize"])
            elif "sam delete" not in text:
                cloud.publish_logs(work)
        yield after


def test_the_deployed_stack_is_sound_and_answers(followed: Followed) -> None:
    """What the chapter asks of the URL is answered: by the smoke test, by curl as a stream, by the client."""
    assert followed.reader.saw("make smoke").count("ok ") == 4
    assert "data: [DONE]" in followed.reader.saw("curl")
    assert followed.reader.saw("from openai").strip()


def test_keys_are_listed_rotated_and_revoked(followed: Followed) -> None:
    """The list names both keys of a rotation, the new one and the one that it ended."""
    listed = followed.reader.saw("infra.keys --table $KeysTable list")
    assert "alice" in listed
    assert "valid" in listed
    assert "revoked" in listed


def test_the_log_is_where_the_chapter_says(followed: Followed) -> None:
    """The log that the outputs name holds a line for an answer, and nothing of what was said."""
    log = followed.reader.saw("sam logs")
    assert "output_tokens" in log
    assert "What can you do?" not in log
    assert re.search(r"^Answers +[1-9]", followed.reader.saw("infra.report"), re.MULTILINE)


def test_parameters_are_changed_and_put_back(followed: Followed) -> None:
    """A parameter that is named changes, and the older version comes back, its memory with it."""
    assert followed.memory_mib == [1769, 3538, 1769]


def test_deletion_leaves_no_stack(followed: Followed) -> None:
    """The stack is gone after the last block; that its tables stay is asked of the template elsewhere."""
    with pytest.raises(ClientError, match="does not exist"):
        followed.cloud.client("cloudformation").describe_stacks(StackName=STACK)
