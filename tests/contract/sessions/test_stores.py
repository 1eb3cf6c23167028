"""The contract suite itself: no implementation of the Protocol stays outside of it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import handler.sessions
from handler.sessions import SessionStore
from tests.contract.sessions.stores import IMPLEMENTATIONS

METHODS = {
    name for name, _ in inspect.getmembers(SessionStore, inspect.isfunction) if not name.startswith("_")
}


def test_every_implementation_is_under_contract() -> None:
    """A class of `handler.sessions` that has all of the Protocol's methods is in `IMPLEMENTATIONS`."""
    found = set()
    for module in pkgutil.iter_modules(handler.sessions.__path__, "handler.sessions."):
        for _, member in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if member is not SessionStore and set(dir(member)) >= METHODS:
                found.add(member)
    assert found == set(IMPLEMENTATIONS.values())


def test_implementations_take_what_the_protocol_says() -> None:
    """Parameters have the Protocol's names, kinds and defaults, so that stores can be exchanged."""
    for implementation in set(IMPLEMENTATIONS.values()):
        for name in METHODS:
            theirs = inspect.signature(getattr(implementation, name))
            assert theirs == inspect.signature(getattr(SessionStore, name)), (implementation, name)
