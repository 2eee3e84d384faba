"""The page at `/`: the models that are served, and a form to try a request."""

from __future__ import annotations

import asyncio
import functools
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from frontend.catalog import Catalog, Version, VersionStatus
from frontend.rest.batching_table import batching_parts
from frontend.rest.openapi_schemas import tensor_text
from frontend.rest.reply import Reply
from frontend.rest.sample_body import ABBREVIATED, example_body, sample_body
from ringserve import __version__
from ringserve.predict_request import CLASSIFY, REGRESS
from ringserve.servable import State
from ringserve.signature import Signature, TensorSpec

_TYPE: Final = "text/html; charset=utf-8"
_FIELD: Final = re.compile(r"\{\{(\w+)\}\}")
_VERBS: Final = {CLASSIFY: "classify", REGRESS: "regress"}
_AT_A_TIME: Final = 8  # models, while requests wait


async def index_reply(catalog: Catalog, batching: Mapping[str, Any] | None = None) -> Reply:
    """Everything that has a name is escaped: names are whatever models' authors wrote. With many models it takes a while, in
    which other requests are served. `batching`: what is known of each model's, as `FrontEnd.batching` has it.
    """
    sections = []
    for number, name in enumerate(catalog.names, 1):
        sections.append(_section(name, catalog, (batching or {}).get(name)))
        if number % _AT_A_TIME == 0:
            await asyncio.sleep(0)
    return _reply(sections)


class _Section(NamedTuple):
    """A model's part of the page and of the form."""

    text: str
    options: str


def _section(name: str, catalog: Catalog, batching: Any) -> _Section:
    text = "\n".join([_model(name, catalog), *(batching_parts(batching) if batching else ())])
    return _Section(text, _options(name, catalog))


def _reply(sections: Sequence[_Section]) -> Reply:
    template = _template()
    fields = {
        "version": escape(__version__),
        "models": "\n".join(section.text for section in sections) or "<p>No models.</p>",
        "options": "".join(section.options for section in sections),
    }
    text = "".join(fields[part] if is_field else part for is_field, part in template.parts)
    return Reply(text.encode("utf-8", "replace"), 200, _TYPE, template.headers)


class _Template(NamedTuple):
    """`parts`: (is it a field's name, text)."""

    parts: tuple[tuple[bool, str], ...]
    headers: tuple[tuple[str, str], ...]


@functools.cache
def _template() -> _Template:
    text = (files("frontend.rest") / "index.html").read_text("utf-8")
    policy = (
        f"default-src 'none'; script-src {_hash_of('script', text)}; style-src {_hash_of('style', text)}; "
        "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    )
    headers = (
        ("Content-Security-Policy", policy),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cache-Control", "no-store"),
    )
    parts = tuple((bool(number % 2), part) for number, part in enumerate(_FIELD.split(text)))
    return _Template(parts, headers)


def _hash_of(element: str, text: str) -> str:
    """The only script (style) that a browser is to run: this one."""
    (content,) = re.findall(f"<{element}>(.*?)</{element}>", text, re.DOTALL)
    return f"'sha256-{b64encode(sha256(content.encode()).digest()).decode()}'"


def _root(name: str) -> str:
    """Relative, so that it works behind a proxy that adds to the path."""
    return f"v1/models/{quote(name, safe='')}"


def _model(name: str, catalog: Catalog) -> str:
    found = {version.id.version: version for version in catalog.versions(name)}
    rows = "".join(_version_row(name, status, found) for status in catalog.reported(name))
    links = [
        (_root(name), "status"),
        *([(f"{_root(name)}/metadata", "metadata")] if found else []),
        (f"readyz/{quote(name, safe='')}", "readyz"),
    ]
    parts = [
        f"<h2>{escape(name)}</h2>",
        f"<p>{' · '.join(_link(target, text) for target, text in links)}</p>",
        f"<table><tr><th>version</th><th>state</th><th></th></tr>{rows}</table>" if rows else "<p>No versions.</p>",
        *(
            f"<p>Label <code>{escape(label)}</code>: {_split(weights)}</p>"
            for label, weights in catalog.labels(name).items()
        ),
        *_signature_tables(found.values()),
    ]
    return "\n".join(parts)


def _link(target: str, text: str) -> str:
    return f'<a href="{escape(target)}">{text}</a>'


def _version_row(name: str, status: VersionStatus, found: dict[int, Version]) -> str:
    number = str(status.version)
    shown = _link(f"{_root(name)}/versions/{number}/metadata", number) if status.version in found else number
    state = status.state.name
    look = ' class="bad"' if status.state is State.END and status.code else ""
    message = f"{status.code.name}: {status.message}" if status.code else ""
    return f"<tr><td>{shown}</td><td{look}>{state}</td><td>{escape(message)}</td></tr>"


def _split(weights: dict[int, float]) -> str:
    """A label's versions, with the share of each."""
    if len(weights) == 1:
        return f"version {next(iter(weights))}"
    total = sum(weights.values())
    return ", ".join(f"version {version} ({weight / total:.1%})" for version, weight in weights.items())


def _signature_tables(versions: Iterable[Version]) -> Iterator[str]:
    """Of all versions; of those that have the same, once."""
    same: dict[tuple[Signature, ...], list[int]] = {}
    for version in versions:
        same.setdefault(tuple(version.signatures.values()), []).append(version.id.version)
    for signatures, numbers in same.items():
        if len(same) > 1:
            yield f"<p>Version {', '.join(map(str, numbers))}:</p>"
        rows = "".join(_signature_row(signature) for signature in signatures)
        yield f"<table><tr><th>signature</th><th>inputs</th><th>outputs</th></tr>{rows}</table>"


def _signature_row(signature: Signature) -> str:
    method = signature.method.rpartition("/")[2]
    name = f"<code>{escape(signature.name)}</code><br>{escape(method)}"
    return f"<tr><td>{name}</td><td>{_tensors(signature.inputs)}</td><td>{_tensors(signature.outputs)}</td></tr>"


def _tensors(specs: Iterable[TensorSpec]) -> str:
    return "<br>".join(f"<code>{escape(spec.alias)}</code> {escape(tensor_text(spec))}" for spec in specs)


def _options(name: str, catalog: Catalog) -> str:
    """What the form can ask of a model: its highest version's signatures, then those of the others by their number."""
    options = "".join(
        _option(f"{_root(name)}{middle}:{verb}", f"{before}{signature.name} :{verb}", body)
        for number, version in enumerate(catalog.versions(name))
        for middle, before in [(f"/versions/{version.id.version}", f"version {version.id.version} ") if number else ("", "")]
        for signature in version.signatures.values()
        for verb, body in _bodies(signature)
    )
    return f'<optgroup label="{escape(name)}">{options}</optgroup>' if options else ""


def _bodies(signature: Signature) -> Iterator[tuple[str, str]]:
    """Verbs, each with a body to begin with."""
    if signature.method in _VERBS:
        yield _VERBS[signature.method], example_body(signature)
    body = sample_body(signature)
    if body is not None:
        yield "predict", body


def _option(path: str, text: str, body: str) -> str:
    large = ' data-large="yes"' if ABBREVIATED in body else ""
    return f'<option value="{escape(path)}" data-body="{escape(body)}"{large}>{escape(text)}</option>'
