"""The places that whole applications keep their sessions at: `place`, as for the stores themselves."""

from tests.contract.sessions.conftest import place

__all__ = ["place"]
