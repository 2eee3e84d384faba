"""Parts that pages of results are made of: tables, plots with their figures, notes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.harness.markup import Content, Markup, element


def table(caption: str, headings: Sequence[str], rows: Sequence[Sequence[Content]], words: int = 1) -> Markup:
    """The first column names the row; of the others, those before column `words` are words, the rest figures.

    It can be scrolled by itself, with the keyboard too, where it is wider than the page.
    """
    head = element(
        "tr", *(element("th", heading, scope="col", class_=_kind(at, words)) for at, heading in enumerate(headings))
    )
    body = [element("tr", *(_cell(at, content, words) for at, content in enumerate(row))) for row in rows]
    inner = element("table", element("caption", caption), element("thead", head), element("tbody", *body))
    return element("div", inner, class_="scroll", role="region", aria_label=caption, tabindex=0)


def figure(title: str, plot: Markup, figures: Markup, *below: Content) -> Markup:
    """A plot with its title above, and its figures as a table that opens below."""
    opened = element("details", element("summary", "Figures"), figures)
    return element("figure", element("figcaption", title), plot, *below, opened)


def facts(pairs: Sequence[tuple[str, Any]]) -> Markup:
    """Names and what they stand for; a mapping or a list within is written out."""
    entries = [element("div", element("dt", name), element("dd", _words(value))) for name, value in pairs]
    return element("dl", *entries)


def notes(texts: Sequence[str]) -> Markup | None:
    """Warnings; nothing where there are none."""
    if not texts:
        return None
    return element("ul", *(element("li", text) for text in texts), class_="warnings", role="note", aria_label="Warnings")


def _cell(at: int, content: Content, words: int) -> Markup:
    return element("td" if at else "th", content, scope=None if at else "row", class_=_kind(at, words))


def _kind(at: int, words: int) -> str | None:
    return None if at < words else "number"


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(each)}" for name, each in value.items() if each is not None)
    if isinstance(value, list | tuple):
        return ", ".join(_words(each) for each in value)
    return str(value)
