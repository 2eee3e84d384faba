"""The paths of one model in the OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final
from urllib.parse import quote

from frontend.catalog import Catalog, Version
from frontend.rest import openapi_schemas as schemas
from frontend.rest.openapi_responses import (
    BINARY_KINDS,
    BINARY_PARAMETERS,
    INFERENCE_PARAMETERS,
    STATUS_SCHEMAS,
    errors,
    found,
)
from frontend.rest.openapi_schemas import Schema
from ringserve.predict_request import CLASSIFY, REGRESS
from ringserve.signature import Signature

_KEY: Final = re.compile(r"[^A-Za-z0-9._-]")  # what no component's name may have
_SIGNATURE_METHODS: Final = {"classify": CLASSIFY, "regress": REGRESS}
_INFERENCE_ERRORS: Final = errors(400, 404, 408, 413, 429, 500, 501, 503, 504)
_LOOK_UP_ERRORS: Final = errors(400, 404)


class Components:
    """Schemas under names of their own, which several paths refer to."""

    def __init__(self) -> None:
        self.schemas: dict[str, Schema] = {**schemas.COMMON, **STATUS_SCHEMAS}

    def add(self, name: str, schema: Schema) -> Schema:
        """A reference to the schema, under this name or one like it."""
        wanted = key = _KEY.sub("-", name)
        number = 1
        while self.schemas.get(key, schema) != schema:
            number += 1
            key = f"{wanted}-{number}"
        self.schemas[key] = schema
        return {"$ref": f"#/components/schemas/{key}"}


class ModelPaths:
    """The paths of one model. Its versions share one where they have the same signatures."""

    def __init__(self, name: str, catalog: Catalog, components: Components) -> None:
        self._name = name
        self._root = f"/v1/models/{quote(name, safe='')}"
        self._reported = [status.version for status in catalog.reported(name)]
        self._versions = catalog.versions(name)
        self._labels = catalog.labels(name)
        self._components = components
        # By name: the order in which a SavedModel has them changes from export to export.
        self._signatures = {
            version.id.version: tuple(signature for _, signature in sorted(version.signatures.items()))
            for version in self._versions
        }
        self._references: dict[tuple[str, Signature], Schema] = {}

    def items(self) -> Iterator[tuple[str, Any]]:
        """Paths with what can be done there."""
        yield self._root, {"get": self._status("the model", [])}
        if self._reported:
            version = choice("version", "integer", self._reported)
            yield f"{self._root}/versions/{{version}}", {"get": self._status("one version", [version])}
        if not self._versions:
            return
        yield from self._served("", "the highest version", self._versions[:1], [])
        yield from self._of_versions()
        yield from self._of_labels()

    def _of_versions(self) -> Iterator[tuple[str, Any]]:
        if len(set(self._signatures.values())) == 1:
            parameter = choice("version", "integer", list(self._signatures))
            yield from self._served("/versions/{version}", "one version", self._versions, [parameter])
            return
        for version in self._versions:
            number = version.id.version
            yield from self._served(f"/versions/{number}", f"version {number}", [version], [])

    def _of_labels(self) -> Iterator[tuple[str, Any]]:
        """Those that have a version which requests find."""
        labels = {
            label: weights for label, weights in self._labels.items() if not weights.keys().isdisjoint(self._signatures)
        }
        labelled = {number for weights in labels.values() for number in weights}
        versions = [version for version in self._versions if version.id.version in labelled]
        if versions:
            parameters = [choice("label", "string", labels), reference("parameters", "Key")]
            yield from self._served("/labels/{label}", "a label's version", versions, parameters)

    def _served(
        self, middle: str, which: str, versions: Sequence[Version], parameters: Sequence[Schema]
    ) -> Iterator[tuple[str, Any]]:
        path = self._root + middle
        yield f"{path}/metadata", {"get": self._operation("Signatures of", which, parameters) | _get("Metadata")}
        signatures = list(
            dict.fromkeys(signature for version in versions for signature in self._signatures[version.id.version])
        )
        inferring = [*parameters, *INFERENCE_PARAMETERS]
        yield (
            f"{path}:predict",
            {"post": self._operation("Predict with", which, [*inferring, *BINARY_PARAMETERS]) | self._predict(signatures)},
        )
        for verb, method in _SIGNATURE_METHODS.items():
            fitting = [signature for signature in signatures if signature.method == method]
            if fitting:
                operation = self._operation(f"{verb.capitalize()} with", which, inferring)
                yield f"{path}:{verb}", {"post": operation | self._with_examples(verb, fitting)}

    def _operation(self, what: str, which: str, parameters: Sequence[Schema]) -> dict[str, Any]:
        return {"summary": f"{what} {which} of {self._name}", "tags": [self._name], "parameters": list(parameters)}

    def _status(self, which: str, parameters: Sequence[Schema]) -> dict[str, Any]:
        return {**self._operation("States of", which, parameters), **_get("Status")}

    def _predict(self, signatures: Sequence[Signature]) -> dict[str, Any]:
        able = [signature for signature in signatures if schemas.is_json(signature)]
        content = dict(BINARY_KINDS)
        answers = dict(BINARY_KINDS)
        if able:
            content = {"application/json": {"schema": self._any("predict", able, schemas.predict_request)}} | content
            answers = {"application/json": {"schema": self._any("prediction", able, schemas.predict_response)}} | answers
        return _post(content, answers)

    def _with_examples(self, verb: str, signatures: Sequence[Signature]) -> dict[str, Any]:
        answer = schemas.classify_response() if verb == "classify" else schemas.regress_response()
        content = {"schema": self._any(verb, signatures, schemas.examples_request)}
        return _post({"application/json": content}, {"application/json": {"schema": answer}})

    def _any(self, kind: str, signatures: Sequence[Signature], schema_of: Callable[[Signature], Schema]) -> Schema:
        """One of the signatures' schemas."""
        references: list[Schema] = []
        for signature in signatures:
            known = self._references.get((kind, signature))
            if known is None:
                known = self._components.add(f"{self._name}.{signature.name}.{kind}", schema_of(signature))
                self._references[kind, signature] = known
            if known not in references:
                references.append(known)
        return references[0] if len(references) == 1 else {"anyOf": references}


def choice(name: str, kind: str, values: Iterable[int | str]) -> Schema:
    """A part of the path that is one of these."""
    return {"name": name, "in": "path", "required": True, "schema": {"type": kind, "enum": list(values)}}


def reference(kind: str, name: str) -> Schema:
    """To a component."""
    return {"$ref": f"#/components/{kind}/{name}"}


def _get(schema: str) -> dict[str, Any]:
    content = {"application/json": {"schema": reference("schemas", schema)}}
    return {"responses": {"200": found(content), **_LOOK_UP_ERRORS}}


def _post(content: dict[str, Any], answers: dict[str, Any]) -> dict[str, Any]:
    return {
        "requestBody": {"required": True, "content": content},
        "responses": {"200": found(answers, timed=True), **_INFERENCE_ERRORS},
    }
