"""The running server's OpenAPI document: what its models can be asked now."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson

from frontend.catalog import Catalog
from frontend.rest.openapi_model import Components, ModelPaths, choice, reference
from frontend.rest.openapi_responses import PARAMETERS, RESPONSES, any_kind, found
from frontend.rest.reply import Reply
from ringserve import __version__

PATH: Final = "/v1/openapi.json"

_METRICS: Final = ("/metrics",)
_AT_A_TIME: Final = 8  # models, while requests wait


async def openapi_reply(catalog: Catalog, metrics_paths: Sequence[str] = _METRICS) -> Reply:
    """Made anew, since it changes with the models. With many of them it takes a while, in which other requests are served.

    `metrics_paths`: all paths on which Prometheus' text is served.
    """
    document = _Document(catalog, metrics_paths)
    for number in document.models():
        if number % _AT_A_TIME == 0:
            await asyncio.sleep(0)
    return document.reply()


class _Document:
    def __init__(self, catalog: Catalog, metrics_paths: Sequence[str]) -> None:
        self._catalog = catalog
        self._components = Components()
        self._paths = _server_paths(catalog, metrics_paths)

    def models(self) -> Iterator[int]:
        """Writes one model after the other; yields how many it has."""
        for number, name in enumerate(self._catalog.names, 1):
            self._paths.update(ModelPaths(name, self._catalog, self._components).items())
            yield number

    def reply(self) -> Reply:
        document = {
            "openapi": "3.1.0",
            "info": {
                "title": "ringserve",
                "version": __version__,
                "description": "TensorFlow Serving's REST API, for the models that this server serves now.",
            },
            "servers": [{"url": "/"}],
            "paths": self._paths,
            "components": {"schemas": self._components.schemas, "responses": RESPONSES, "parameters": PARAMETERS},
        }
        return Reply(orjson.dumps(document))


def _server_paths(catalog: Catalog, metrics_paths: Sequence[str]) -> dict[str, Any]:
    health = {"application/json": {"schema": reference("schemas", "Health")}}
    names = catalog.names
    paths: dict[str, Any] = {
        path: {"get": {"summary": "Does the server answer?", "responses": {"200": found(health)}}}
        for path in ("/livez", "/healthz")
    }
    unready = {"503": reference("responses", "Unready")}
    paths["/readyz"] = {"get": {"summary": "Can every model be asked?", "responses": {"200": found(health), **unready}}}
    if names:
        paths["/readyz/{model}"] = {
            "get": {
                "summary": "Can this model be asked?",
                "parameters": [choice("model", "string", names)],
                "responses": {"200": found(health), "404": found(health, "No such model"), **unready},
            }
        }
    for path in metrics_paths:
        paths[path] = {"get": {"summary": "Figures for Prometheus", "responses": any_kind("text/plain", 503)}}
    paths[PATH] = {"get": {"summary": "This document", "responses": {"200": found({"application/json": {}})}}}
    paths["/"] = {"get": {"summary": "A page about the models", "responses": any_kind("text/html")}}
    return paths
