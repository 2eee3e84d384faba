"""JSON objects to serialised tf.Examples. What kind a feature is says the JSON, not the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

from frontend.rest.json_dump import dump
from frontend.rest.json_values import decode_base64, elements_alike, first_unlike, is_b64, json_type, text_bytes
from ringserve import example_bytes
from ringserve.errors import Code, ServingError
from ringserve.example_request import with_context
from ringserve.tensor import STRING

_INT64: Final = range(-(1 << 63), 1 << 63)
_BYTES, _FLOAT, _INTEGER = "bytes", "float", "int64"  # as error texts name the kinds
_WRITERS: Final[dict[str, Callable[[Sequence[Any]], bytes]]] = {
    _BYTES: example_bytes.texts,
    _FLOAT: example_bytes.floats,
    _INTEGER: example_bytes.integers,
}


def examples_from_document(document: dict[str, Any], most_bytes: int) -> list[bytes]:
    """The examples of a body of classify or regress, the context merged into each.

    Raises ServingError: INVALID_ARGUMENT with upstream's texts, RESOURCE_EXHAUSTED where a context makes them larger than
    `most_bytes` in all.
    """
    context = example_from_value(document["context"]) if "context" in document else b""
    if "examples" not in document:
        raise _unfit(document, "When method is classify, key 'examples' is expected and was not found")
    values = document["examples"]
    if not isinstance(values, list):
        raise _unfit(document, "Expecting 'examples' value to be an list/array")
    if not values:
        raise _unfit(document, "'examples' value is an empty array")
    return with_context(context, [example_from_value(value) for value in values], most_bytes)


def example_from_value(value: Any) -> bytes:
    """A serialised tf.Example. Raises ServingError (INVALID_ARGUMENT) with upstream's texts."""
    if type(value) is not dict:
        raise _invalid(f"Example must be JSON object but got JSON {json_type(value)}")
    pieces: list[bytes] = []
    for name, content in value.items():
        known = _short_name(name) if len(name) <= _SHORT else _name(name)
        if type(content) is float:  # what most are
            pieces += known.one_float, example_bytes.one_float(content)
        else:
            pieces.append(example_bytes.entry(known, _feature(name, content)))
    return example_bytes.example(pieces)


def _name(name: str) -> example_bytes.Name:
    return example_bytes.made_name(text_bytes(_shown(name)))


_SHORT: Final = 64  # characters of a name that is worth remembering
_short_name: Final = lru_cache(maxsize=4096)(_name)


def _shown(name: str) -> str:
    """Up to the first zero: upstream takes names for C strings."""
    return name.partition("\0")[0]


def _feature(name: str, content: Any) -> bytes:
    """Scalars and plain lists are seen for what they are at once; the rest takes another look."""
    if type(content) is list:
        return _list_feature(name, content)
    if type(content) is str:
        return example_bytes.one_text(text_bytes(content))
    if type(content) in (int, bool) and content in _INT64:
        return example_bytes.one_integer(content)
    return _mixed_feature(name, [content])


def _list_feature(name: str, values: list[Any]) -> bytes:
    kinds = set(map(type, values))
    kind = kinds.pop() if len(kinds) == 1 else None
    if kind is float:
        return example_bytes.floats(values)
    if kind is str:
        return example_bytes.texts(list(map(text_bytes, values)))
    if kind is int:
        try:
            return example_bytes.integers(values)
        except OverflowError:
            pass
    return _mixed_feature(name, values)


def _mixed_feature(name: str, values: list[Any]) -> bytes:
    if not values:
        return example_bytes.NOTHING
    kind = _kind(name, values[0])
    elements = _elements(values, kind)
    if elements is None:
        value = values[first_unlike(values, lambda some: _elements(some, kind) is not None)]
        if _kind(name, value) != kind:
            raise _invalid(f"Unexpected element type in feature: {_shown(name)} expecting type: {kind}")
        elements = [_element(name, value)]  # raises what is wrong with it
    return _WRITERS[kind](elements)


def _elements(values: list[Any], kind: str) -> list[Any] | None:
    """None if one of them is not of this kind, or is wrong."""
    if kind == _BYTES:
        return elements_alike(values, (), STRING)
    kinds = set(map(type, values))
    if kind == _FLOAT:
        return values if kinds == {float} else None
    return values if kinds <= {int, bool} and min(values) in _INT64 and max(values) in _INT64 else None


def _kind(name: str, value: Any) -> str:
    if isinstance(value, float):
        return _FLOAT
    if isinstance(value, int):  # booleans are, too
        return _INTEGER
    if isinstance(value, str) or is_b64(value):
        return _BYTES
    raise _invalid(f"Feature: {_shown(name)} has element with unexpected JSON type: {json_type(value)}")


def _element(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return text_bytes(value)
    if isinstance(value, dict):
        return decode_base64(value["b64"])
    if isinstance(value, int) and value not in _INT64:
        raise _invalid(f"Feature: {_shown(name)} has uint64_t element. Only int64_t is supported.")
    return value


def _unfit(document: dict[str, Any], what: str) -> ServingError:
    return _invalid(f"JSON Value: {dump(document)} {what}")


def _invalid(text: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, text)
