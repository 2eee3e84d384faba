"""The rows that local clients want columns for: what is one, and how many kinds there may be."""

from __future__ import annotations

import gc
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_catalogs import load
from made_signatures import signature, spec

from frontend.catalog import Catalog
from frontend.local.wanted_rows import WantedForms, read_rows
from ringserve.errors import Code, ServingError

TWO = signature(spec("a", "float"), spec("b", "int64"), outputs=(spec("y"),))


def refusal(found: Any, declared: Any = TWO, most_bytes: int = 1000) -> ServingError:
    with pytest.raises(ServingError) as caught:
        read_rows(found, declared, most_bytes)
    return caught.value


def test_rows_of_all_inputs_in_the_signatures_order() -> None:
    assert read_rows([[1, "<f4", [2, 3]], [9, "<i8", []]], TWO, 1000) == ((1, "<f4", (2, 3)), (9, "<i8", ()))
    assert read_rows(None, TWO, 1000) is None


@pytest.mark.parametrize(
    "found",
    [
        [],
        {},
        7,
        "rows",
        [[1, "<f4", []]],
        [[1, "<f4", []], [9, "<i8", []], [9, "<i8", []]],
        [[9, "<i8", []], [1, "<f4", []]],
        [[1, "<f4", []], [1, "<f4", []]],
        [[1, ">f4", []], [9, "<i8", []]],
        [[1, "<f8", []], [9, "<i8", []]],
        [[1, "<f4"], [9, "<i8", []]],
        [[1, "<f4", None], [9, "<i8", []]],
        [[1, "<f4", [0]], [9, "<i8", []]],
        [[1, "<f4", [-1]], [9, "<i8", []]],
        [[1, "<f4", [2.0]], [9, "<i8", []]],
        [[1, "<f4", [True]], [9, "<i8", []]],
        [[1, "<f4", [1 << 31]], [9, "<i8", []]],
        [[1, "<f4", [1] * 32], [9, "<i8", []]],
        [None, None],
        [[[], {}, []], [9, "<i8", []]],
    ],
)
def test_what_are_no_rows(found: Any) -> None:
    assert refusal(found).code is Code.INVALID_ARGUMENT


def test_a_row_is_no_larger_than_a_request() -> None:
    fits = [[1, "<f4", [248]], [9, "<i8", []]]
    assert read_rows(fits, TWO, 1000) is not None
    assert "a row of 1004 bytes" in refusal([[1, "<f4", [249]], [9, "<i8", []]]).message
    huge = [[1, "<f4", [(1 << 31) - 1] * 31], [9, "<i8", []]]
    assert refusal(huge).code is Code.INVALID_ARGUMENT


def test_strings_have_no_columns() -> None:
    assert refusal([[7, "", []]], signature(spec("s", "string"))).code is Code.INVALID_ARGUMENT


def test_a_signature_without_inputs_has_no_rows() -> None:
    assert refusal([], signature()).code is Code.INVALID_ARGUMENT


@given(st.lists(st.integers(1, 40), max_size=4), st.lists(st.integers(1, 40), max_size=4))
def test_a_row_counts_as_many_bytes_as_numpys(first: list[int], second: list[int]) -> None:
    size = math.prod(first) * np.dtype("<f4").itemsize + math.prod(second) * np.dtype("<i8").itemsize
    found = [[1, "<f4", first], [9, "<i8", second]]
    assert read_rows(found, TWO, size) == ((1, "<f4", tuple(first)), (9, "<i8", tuple(second)))
    assert f"a row of {size} bytes" in refusal(found, TWO, size - 1).message


def test_so_many_forms_of_a_version_and_they_go_with_it() -> None:
    catalog, forms = Catalog(), WantedForms()
    version = load(catalog, "m", 1, TWO)
    other = load(catalog, "m", 2, TWO)
    rows = [((1, "<f4", (size,)), (9, "<i8", ())) for size in range(1, 10)]
    for each in rows[:8]:
        forms.note(version, "serving_default", each)
    forms.note(version, "serving_default", rows[0])
    forms.note(version, "serving_default", None)
    with pytest.raises(ServingError) as caught:
        forms.note(version, "serving_default", rows[8])
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    forms.note(version, "other", rows[8])
    forms.note(other, "serving_default", rows[8])
    handle = catalog.retire(version.id)
    assert handle is not None
    catalog.remove(handle)
    del version, handle, caught
    gc.collect()
    assert len(forms._wanted) == 1
