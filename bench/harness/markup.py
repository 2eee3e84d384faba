"""Elements of HTML and SVG as text. What is put in is escaped unless it is made of elements itself."""

from __future__ import annotations

import html
from typing import Final

#: Elements without content.
_VOID: Final = frozenset(("meta", "br", "col"))


class Markup(str):
    """Text that is HTML already. Only this module makes it from a plain text, and from none that came from outside."""

    __slots__ = ()


Content = Markup | str | int | None


def element(tag: str, *contents: Content, **attributes: str | float | bool | None) -> Markup:
    """`<tag attribute="value">contents</tag>`.

    Attributes are named with _ for -, and with a _ at the end where Python has the word for itself (class_). One that is
    True has no value; None and False leave it out. Numbers have three digits after the point at most.
    """
    words = [tag]
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        said = name.removesuffix("_").replace("_", "-")
        words.append(said if value is True else f'{said}="{html.escape(_text(value))}"')
    if tag in _VOID:
        return Markup(f"<{' '.join(words)}>")
    return Markup(f"<{' '.join(words)}>{joined(*contents)}</{tag}>")


def joined(*contents: Content) -> Markup:
    """One after the other; None is nothing."""
    return Markup(
        "".join(each if isinstance(each, Markup) else html.escape(str(each)) for each in contents if each is not None)
    )


def stylesheet(css: str) -> Markup:
    """A style element; raises ValueError where the text would end it."""
    if "</" in css:
        raise ValueError("a style sheet can't hold </")
    return Markup(f"<style>{css}</style>")


def document(head: Markup, body: Markup) -> str:
    return f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>{body}</body>\n</html>\n'


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.3f}".rstrip("0").rstrip(".")
