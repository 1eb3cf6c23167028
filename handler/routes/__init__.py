"""AWS events in, proxy answers out: routes, identity, status codes. The only package that speaks both.

`Api` is what `handler.function` calls. Knows no model, no session store, no order of things within a turn.
"""

from handler.routes.api import Api

__all__ = ["Api"]
