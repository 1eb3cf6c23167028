"""A user for locust, which runs it: talks as `mix` says and notes every answer. Runs in .venv/load alone.

LOAD_SAMPLES names the file that gets one line of JSON an answer, LOAD_MODEL the model, LOAD_THINK_S the mean
time between an answer and the next request.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import time
from collections.abc import Iterator
from typing import Any

import gevent
import requests
from locust import User, task

from bench.load import mix

MODEL, THINK_S = os.environ["LOAD_MODEL"], float(os.environ["LOAD_THINK_S"])
SAMPLES = open(os.environ["LOAD_SAMPLES"], "a", buffering=1)  # noqa: SIM115, PTH123 - as long as the process
ATTEMPTS, BACKOFF_S, LONGEST_BACKOFF_S, TIMEOUT_S = 24, 0.5, 4.0, 60.0
"""Patience for more than a minute: all environments may be starting."""
numbers = itertools.count(1)


class Failed(Exception):
    """Not the answer that was asked for."""


PROBLEMS = (requests.RequestException, Failed, KeyError, ValueError)


class Talker(User):
    """Somebody who has one conversation after the other."""

    def on_start(self) -> None:
        """Each user has dice and a connection of its own; a run of as many users is the same again."""
        self.dice = random.Random(next(numbers))
        self.session = requests.Session()

    @task
    def converse(self) -> None:
        """One conversation, from its first turn to its last."""
        kind = mix.draw(self.dice)
        history: list[dict[str, str]] = []
        place: dict[str, Any] = {}
        turns = self.dice.randint(*kind.turns)
        if kind.api == "conversation":
            place = {"conversation": self._begun(kind)}
        for turn in range(turns):
            said = mix.utterance(self.dice, turn)
            streamed = self.dice.random() < kind.streamed
            if kind.api == "chat":
                history.append({"role": "user", "content": said})
                body = {"messages": history[-mix.REMEMBERED_MESSAGES :], "max_tokens": mix.MAX_TOKENS}
                found = self._ask(kind, "/v1/chat/completions", body, streamed)
                history.append({"role": "assistant", "content": found["text"] or "."})
            else:
                body = {"input": said, "max_output_tokens": mix.MAX_TOKENS, "truncation": "auto", **place}
                found = self._ask(kind, "/v1/responses", body, streamed)
                if kind.api == "responses":
                    place = {"previous_response_id": found["id"]}
            pause = mix.PAUSE_FACTOR if kind.pauses and turn == turns // 2 else 1
            gevent.sleep(mix.think_s(self.dice, THINK_S) * pause)

    def _begun(self, kind: mix.Kind) -> str:
        """The id of a new conversation; none is a failure as much as an answer that does not come."""
        try:
            return str(self._post("/v1/conversations", {}).json()["id"])
        except PROBLEMS as problem:
            SAMPLES.write(json.dumps({"kind": kind.name, "failed": _named(problem)}) + "\n")
            gevent.sleep(BACKOFF_S)
            raise

    def _ask(self, kind: mix.Kind, path: str, body: dict[str, Any], streamed: bool) -> dict[str, Any]:
        began = time.perf_counter()
        sample: dict[str, Any] = {"kind": kind.name, "streamed": streamed}
        error: Exception | None = None
        found: dict[str, Any] = {"id": "", "text": "", "first_s": None, "receipt": None}
        try:
            reply = self._post(path, {"model": MODEL, **body, "stream": streamed}, sample)
            found |= _streamed(reply, sample["sent_s"]) if streamed else _whole(reply)
            sample |= {"cold": reply.headers["x-cold"] == "1", "first_s": found["first_s"]}
            sample["receipt"] = found["receipt"]
        except PROBLEMS as problem:
            error = problem
            sample["failed"] = _named(problem)
        whole_s = time.perf_counter() - began
        SAMPLES.write(json.dumps({**sample, "whole_s": whole_s}) + "\n")
        self.environment.events.request.fire(
            request_type="stream" if streamed else "whole",
            name=kind.name,
            response_time=whole_s * 1000,
            response_length=len(found["text"]),
            exception=error,
            context={},
        )
        if error is not None:
            gevent.sleep(BACKOFF_S)
            raise error
        return found

    def _post(
        self, path: str, body: dict[str, Any], sample: dict[str, Any] | None = None
    ) -> requests.Response:
        """Send; what was throttled is sent again after a while, more patiently than OpenAI's clients do."""
        noted = sample if sample is not None else {}
        for attempt in range(ATTEMPTS):
            noted["sent_s"] = time.perf_counter()
            reply = self.session.post(self.host + path, json=body, stream=True, timeout=TIMEOUT_S)
            if reply.status_code != 429:
                break
            noted["throttled"] = attempt + 1
            pause_s = min(BACKOFF_S * 2**attempt, LONGEST_BACKOFF_S)
            gevent.sleep(pause_s * (0.75 + self.dice.random() / 4))
        if reply.status_code != 200:
            raise Failed(f"{reply.status_code}: {reply.text[:200]}")
        return reply


def _named(problem: Exception) -> str:
    return f"{type(problem).__name__}: {problem}"


def _whole(reply: requests.Response) -> dict[str, Any]:
    answer = reply.json()
    if "choices" in answer:
        text = answer["choices"][0]["message"]["content"] or ""
    else:
        text = "".join(part["text"] for item in answer["output"] for part in item.get("content", []))
    return {"id": answer["id"], "text": text, "first_s": None, "receipt": answer["dormouse"]["receipt"]}


def _streamed(reply: requests.Response, sent_s: float) -> dict[str, Any]:
    found: dict[str, Any] = {"text": "", "first_s": None, "receipt": None, "id": ""}
    for event in _events(reply):
        answer = event.get("response", event)
        piece = event.get("delta") if "type" in event else _chat_delta(event)
        if isinstance(piece, str) and piece:
            found["first_s"] = found["first_s"] or time.perf_counter() - sent_s
            found["text"] += piece
        found["id"] = found["id"] or answer.get("id", "")
        if answer.get("dormouse"):
            found["receipt"] = answer["dormouse"]["receipt"]
    if found["receipt"] is None:
        raise Failed("the stream ended without a receipt")
    return found


def _events(reply: requests.Response) -> Iterator[dict[str, Any]]:
    for line in reply.iter_lines(chunk_size=None):
        if line.startswith(b"data: {"):
            yield json.loads(line[6:])


def _chat_delta(event: dict[str, Any]) -> str | None:
    choices = event.get("choices") or []
    return choices[0]["delta"].get("content") if choices else None
