"""The paths that platforms call a container by, each with the route of ours that answers there.

Knows neither the platforms nor who may come in. Every server has all of these doors, so that what is tested
on a laptop is what is called on a platform.
"""

from __future__ import annotations

from typing import Any

PROBED = "/health"
CHAT = "/v1/chat/completions"

# SageMaker's: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
# Azure ML's, by the deployment's own settings:
# https://learn.microsoft.com/azure/machine-learning/how-to-deploy-custom-container
DOORS = {
    ("GET", "/ping"): PROBED,
    ("POST", "/invocations"): CHAT,
    ("POST", "/score"): CHAT,
}
OPEN = frozenset({("GET", "/"), ("GET", "/ping")})
"""Asked for no key: a browser has none before the page has asked for one, and a probe never has one."""


def enter(event: dict[str, Any]) -> dict[str, Any]:
    """Lead a platform's call to the route behind its door; any other goes where it went."""
    route = DOORS.get((event["httpMethod"], event["path"]))
    return event if route is None else {**event, "path": route}
