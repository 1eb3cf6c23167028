"""What the server says of itself: models, health, the page."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.event_handler import Response

from handler.chat.sampling import check_model
from handler.engine.bundle import Manifest
from handler.errors import NotFound
from handler.page import page_headers, read_page
from handler.routes.answers import Page
from handler.routes.table import VERSION, Endpoint, later
from handler.schema.service import Health, ModelFacts, ModelList, ModelObject
from handler.settings import Settings


class ServiceRoutes:
    """The routes that touch neither model nor sessions."""

    def __init__(self, manifest: Manifest, card: str | None, created_s: int, settings: Settings) -> None:
        self._settings = settings
        self._card = card
        self._model = ModelObject(
            id=manifest.name,
            created=created_s,
            owned_by="dormouse",
            dormouse=ModelFacts(
                context_tokens=manifest.context_tokens,
                parameters=manifest.dims.parameters,
                quantization=manifest.quantization.recipe,
                license=manifest.source.license,
                source=manifest.source.id,
                generation=dict(manifest.generation),
            ),
        )
        self._manifest = manifest
        self._page: Page | None = None

    def endpoints(self) -> list[Endpoint]:
        """The routes, as data."""
        tag = "Service"
        return [
            Endpoint("GET", "/", self.page, "The page to chat on", tag, Page, media="text/html"),
            Endpoint("GET", "/health", self.health, "Whether it serves", tag, Health),
            Endpoint("GET", "/v1/models", self.list_models, "The one model", tag, ModelList),
            Endpoint("GET", "/v1/models/<model>", self.retrieve_model, "A model", tag, ModelObject),
            Endpoint(
                "GET",
                "/v1/models/<model>/card",
                self.model_card,
                "Its card",
                tag,
                Page,
                media="text/markdown",
            ),
        ]

    def page(self) -> Response[Any]:
        """One static file, read at the first visit."""
        if self._page is None:
            text = read_page()
            self._page = Page(text, "text/html; charset=utf-8", page_headers(text))
        page = self._page
        return later(lambda: page)

    def health(self) -> Response[Any]:
        """The model is loaded, or this process would not run."""
        health = Health(model=self._manifest.name, streaming=self._settings.streaming, version=VERSION)
        return later(lambda: health)

    def list_models(self) -> Response[Any]:
        """A list of one."""
        return later(lambda: ModelList(data=[self._model]))

    def retrieve_model(self, model: str) -> Response[Any]:
        """The one there is, or 404."""
        check_model(self._manifest, model)
        return later(lambda: self._model)

    def model_card(self, model: str) -> Response[Any]:
        """What the bundle tells people of its model, or 404 where it holds no card."""
        check_model(self._manifest, model)
        if self._card is None:
            raise NotFound("The model's bundle holds no card.", param="model")
        page = Page(self._card, "text/markdown; charset=utf-8", {})
        return later(lambda: page)
