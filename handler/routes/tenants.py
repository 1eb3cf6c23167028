"""`/v1/usage`, `/v1/erase`: what concerns a tenant as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Query

from handler.chat.budget import Budget, Caller
from handler.chat.tenants import Tenants
from handler.routes.table import CurrentCaller, Endpoint, later
from handler.schema.tenants import Erasure, ErasureRequest, UsagePage

Period = Annotated[str | None, Query(max_length=64, description="a day, UTC: YYYY-MM-DD; today by default")]


class TenantRoutes:
    """Extensions of ours."""

    def __init__(self, tenants: Tenants, budget: Callable[[Caller], Budget]) -> None:
        self._tenants, self._budget = tenants, budget

    def endpoints(self) -> list[Endpoint]:
        """The routes, as data."""
        tag = "Tenant"
        return [
            Endpoint("GET", "/v1/usage", self.retrieve_usage, "Tokens used on a day", tag, UsagePage),
            Endpoint("POST", "/v1/erase", self.erase_everything, "Erase everything", tag, Erasure),
        ]

    def retrieve_usage(self, caller: CurrentCaller, period: Period = None) -> Response[Any]:
        """Prompt, cached and answer tokens; what is left of the quota."""
        return later(lambda: self._tenants.usage(caller.tenant, period))

    def erase_everything(
        self,
        caller: CurrentCaller,
        body: ErasureRequest,  # noqa: ARG002  a body that is no confirmation does not come this far
    ) -> Response[Any]:
        """Conversations, hidden threads, responses, claims and counters."""
        return later(lambda: self._tenants.erase(self._budget(caller)))
