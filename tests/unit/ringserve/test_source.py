"""The adapter between a source of paths and a target of loaders."""

from __future__ import annotations

from collections.abc import Sequence

from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId
from ringserve.source import ServableData, SourceAdapter

FIRST, SECOND, THIRD = (ServableId("m", version) for version in (3, 1, 2))
GONE = ServingError(Code.NOT_FOUND, "gone")


def adapted(*versions: ServableData[str]) -> list[tuple[str, Sequence[ServableData[str]]]]:
    """What comes out of an adapter that turns paths to upper case and can't bear "bad"."""
    lists: list[tuple[str, Sequence[ServableData[str]]]] = []

    def convert(servable: ServableId, path: str) -> str:
        if path == "bad":
            raise ServingError(Code.INVALID_ARGUMENT, f"no {servable.version}")
        return path.upper()

    SourceAdapter(convert, lambda name, items: lists.append((name, items)))("m", versions)
    return lists


def test_items_are_converted_one_by_one_in_their_order() -> None:
    ((name, items),) = adapted(ServableData(FIRST, "/a"), ServableData(SECOND, "/b"))
    assert name == "m"
    assert items == [ServableData(FIRST, "/A"), ServableData(SECOND, "/B")]


def test_an_empty_list_is_passed_on() -> None:
    assert adapted() == [("m", [])]


def test_an_error_passes_through_and_one_in_converting_takes_its_items_place() -> None:
    ((_, items),) = adapted(ServableData(FIRST, GONE), ServableData(SECOND, "bad"), ServableData(THIRD, "/c"))
    assert items[0] == ServableData(FIRST, GONE)
    error = items[1].data
    assert isinstance(error, ServingError)
    assert (error.code, error.message) == (Code.INVALID_ARGUMENT, "no 1")
    assert items[2] == ServableData(THIRD, "/C")
