"""The page at `/`: well-formed, complete, and safe whatever names there are."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any

import pytest
from explained_models import explained_model
from hypothesis import given, settings
from hypothesis import strategies as st
from made_catalogs import load, report
from made_signatures import signature, spec

from frontend.catalog import Catalog
from frontend.rest.index_page import index_reply
from frontend.rest.sample_body import sample_body
from ringserve.errors import Code
from ringserve.predict_request import CLASSIFY
from ringserve.servable import State
from ringserve.signature import Signature

VOID = {"meta", "br", "link", "img", "input"}
ALLOWED = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "h1",
        "h2",
        "p",
        "a",
        "table",
        "tr",
        "th",
        "td",
        "code",
        "br",
        "span",
    ),
    *("noscript", "form", "label", "select", "optgroup", "option", "textarea", "button", "pre", "script"),
}
NASTY = """<script>alert(1)</script>"'&amp;</textarea></select>{{options}}-->"""


class Page(HTMLParser):
    """Elements with their attributes, and text; fails where elements are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.inline: dict[str, str] = {}
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ALLOWED
        assert len(dict(attrs)) == len(attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("script", "style"):
            self.inline[self._open[-1]] = self.inline.get(self._open[-1], "") + data
        else:
            self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def page(catalog: Catalog, batching: dict[str, Any] | None = None) -> Page:
    reply = asyncio.run(index_reply(catalog, batching))
    assert (reply.status, reply.content_type) == (200, "text/html; charset=utf-8")
    return Page(reply.body.decode())


def test_a_server_without_models() -> None:
    found = page(Catalog())
    assert "No models." in found.text
    assert found.all("option") == []


def test_what_is_served() -> None:
    catalog = Catalog()
    one = signature(spec("x", shape=(-1, 2)), outputs=(spec("y_bytes", "string", None),))
    load(catalog, "m", 1, one)
    load(catalog, "m", 12, one)
    report(catalog, "m", 13, State.END, Code.INTERNAL, "it is <broken>")
    report(catalog, "coming", 7, State.LOADING)
    catalog.set_labels("m", {"stable": [(1, 1.0)], "split": [(1, 1.0), (12, 3.0)]})
    found = page(catalog)
    for text in (
        "m status · metadata · readyz",
        "13 END INTERNAL: it is <broken>",
        "12 AVAILABLE",
        "Label stable : version 1",
        "Label split : version 1 (25.0%), version 12 (75.0%)",
        "serving_default predict x float[?,2] y_bytes string of any rank",
        "coming status · readyz",
        "7 LOADING",
    ):
        assert text in found.text
    assert found.text.count("serving_default predict") == 1
    links = {attributes["href"] for attributes in found.all("a")}
    assert {"v1/openapi.json", "metrics", "readyz", "readyz/m", "v1/models/m", "v1/models/m/metadata"} <= links
    assert "v1/models/m/versions/12/metadata" in links
    assert "v1/models/m/versions/13/metadata" not in links
    assert not any(link and (link.startswith("/") or ":" in link) for link in links)  # works behind a proxy's prefix


def test_the_form_asks_every_signature_of_every_version() -> None:
    catalog = Catalog()
    signatures = (
        signature(spec("x"), outputs=(spec("y"),)),
        Signature("c", CLASSIFY, (spec("inputs", "string"),), (spec("scores"),)),
    )
    for number in (1, 2):
        load(catalog, "a/b", number, *signatures, signature(spec("x", "half"), outputs=(spec("y"),), name="not in JSON"))
    found = page(catalog)
    assert [attributes["label"] for attributes in found.all("optgroup")] == ["a/b"]
    bodies = [(attributes["value"], json.loads(attributes["data-body"] or "")) for attributes in found.all("option")]
    examples = {"signature_name": "c", "examples": [{"x": 0.0}]}
    strings = {"signature_name": "c", "instances": [""]}
    assert bodies == [
        ("v1/models/a%2Fb:predict", {"instances": [0.0]}),
        ("v1/models/a%2Fb:classify", examples),
        ("v1/models/a%2Fb:predict", strings),
        ("v1/models/a%2Fb/versions/1:predict", {"instances": [0.0]}),
        ("v1/models/a%2Fb/versions/1:classify", examples),
        ("v1/models/a%2Fb/versions/1:predict", strings),
    ]


def test_a_browser_runs_this_script_and_nothing_else() -> None:
    reply = asyncio.run(index_reply(Catalog()))
    found = Page(reply.body.decode())
    headers = dict(reply.headers)
    assert headers["X-Content-Type-Options"] == "nosniff"
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["form-action"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["connect-src"] == "'self'"
    for element, directive in (("script", "script-src"), ("style", "style-src")):
        assert len(found.all(element)) == 1
        assert policy[directive] == f"'sha256-{b64encode(sha256(found.inline[element].encode()).digest()).decode()}'"
    for _, attributes in found.elements:
        assert not {"src", "style"} & attributes.keys()
        assert not any(name.startswith("on") for name in attributes)


def catalog_of(name: str) -> Catalog:
    catalog = Catalog()
    nasty = Signature(name, name, (spec(name),), (spec(name),))
    load(catalog, name, 1, nasty, Signature(f"{name}c", CLASSIFY, (spec(name),), (spec(name),)))
    report(catalog, name, 2, State.END, Code.INTERNAL, name)
    catalog.set_labels(name, {name: [(1, 1.0), (2, 1.0)]})
    return catalog


@given(st.text(st.sampled_from("<>\"'&;/ aé{}-!\\\n\x00\u2028"), min_size=1) | st.just(NASTY))
@settings(deadline=None)
def test_names_are_nothing_but_text(name: str) -> None:
    """The same elements whatever names there are."""
    plain = page(catalog_of("m"), {"m": explained_model("m")})
    found = page(catalog_of(name), {name: explained_model(name, name)})
    assert [element for element, _ in found.elements] == [element for element, _ in plain.elements]
    assert [attributes.keys() for _, attributes in found.elements] == [attributes.keys() for _, attributes in plain.elements]
    assert found.inline == plain.inline


def test_what_is_no_unicode_does_not_fail() -> None:
    catalog = Catalog()
    report(catalog, "m", 1, State.END, Code.INTERNAL, "\udcff")
    body = asyncio.run(index_reply(catalog, {"m": explained_model("\udcfe")})).body
    assert b"INTERNAL: ?" in body
    assert b"rows, waits at most 2 ms: ?" in body


def test_how_requests_are_batched() -> None:
    found = page(catalog_of("m"), {"m": explained_model("why"), "unknown": explained_model("never")})
    for text in (
        "signature batching batches closed waited",
        "why version 1 on cpu:0",
        "as declared adaptive, at most 32 rows, waits at most 2 ms: why",
        "float[3] not batched: why",
        "5 batches of 9 rows (1: 3, 2-3: 2) why 5",
        "oldest: mean 12.3 us, p50 9.9 us, p99 1.25 ms all: mean 12.3 us, p50 9.9 us, p99 1.25 ms",
        "Version 1: why does not tell how it batches: why",
    ):
        assert text in found.text
    assert "never" not in found.text, "what is not in the catalog is no model of this page"


@pytest.mark.parametrize("batching", [None, {}, {"m": {"model": "m", "versions": []}}])
def test_what_is_not_known_of_batching_is_left_out(batching: dict[str, Any] | None) -> None:
    found = page(catalog_of("m"), batching)
    assert "batching" not in found.text
    assert len(found.all("option")) == len(page(catalog_of("m")).all("option")) > 0


def body(*inputs: Any, outputs: Any = None, name: str = "serving_default") -> Any:
    text = sample_body(signature(*inputs, outputs=outputs or (spec("y"),), name=name))
    return None if text is None else json.loads(text)


def test_samples() -> None:
    assert body(spec("x", shape=(-1, 2, -1))) == {"instances": [[[0.0], [0.0]]]}
    assert body(spec("x", "string"), spec("n", "int64")) == {"instances": [{"x": "", "n": 0}]}
    assert body(spec("x", "bool", (2,)), outputs=(spec("y", shape=(2,)),)) == {"instances": [False, False]}
    assert body(spec("x", shape=(3, 1))) == {"instances": [[0.0]] * 3}
    assert body(spec("x", shape=())) == {"inputs": 0.0}
    assert body(spec("x", shape=None)) == {"inputs": [0.0]}
    assert body(spec("x"), outputs=(spec("y", shape=()),)) == {"inputs": [0.0]}
    assert body(spec("x"), outputs=(spec("y", shape=(3,)),), name="s") == {"signature_name": "s", "instances": [0.0] * 3}
    assert body(spec("a", shape=(2,)), spec("b", shape=(3,))) == {"inputs": {"a": [0.0] * 2, "b": [0.0] * 3}}
    assert body(spec("x", shape=(0, 2))) == {"inputs": []}
    assert body(spec("x", "complex64")) is None
    assert body(spec("x"), outputs=(spec("y", "half"),)) is None
    assert sample_body(signature(outputs=(spec("y"),))) is None


@pytest.mark.parametrize(("dtype", "zero"), [("float", "0.0"), ("uint8", "0"), ("bool", "false"), ("string", '""')])
def test_large_samples_are_abbreviated(dtype: str, zero: str) -> None:
    assert body(spec("x", dtype, (-1, 224, 224, 3))) == {"instances": [f"{zero} * [224,224,3]"]}
    catalog = Catalog()
    load(catalog, "m", 1, signature(spec("x", dtype, (-1, 224, 224, 3)), outputs=(spec("y"),)))
    (option,) = page(catalog).all("option")
    assert option["data-large"] == "yes"
    assert body(spec("x", dtype, (-1, 1 << 13, 1 << 13))) is None
