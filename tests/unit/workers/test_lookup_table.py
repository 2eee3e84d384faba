"""Lookup tables: what keys answer, of which types they are, and every file and option that is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_version import Array

from ringserve.errors import Code, ServingError
from ringserve.options import ServerOptions
from ringserve.servable import ServableId
from ringserve.signature import DEFAULT_SIGNATURE
from ringserve.tensor import BY_NAME
from shm.layout import Column as LaneColumn
from workers.lookup_table import LookupTable, LookupTableLoader
from workers.plugin_version import PluginVersion
from workers.probe import probe
from workers.table_columns import key_column, value_column


def loader(folder: Path, **options: str) -> LookupTableLoader:
    return LookupTableLoader(ServableId("table", 1), str(folder), options, ServerOptions())


def types(folder: Path, **options: str) -> tuple[str, str, Any]:
    """Of keys and values, and the values' shape."""
    (signature,) = loader(folder, **options).load().signatures.values()
    (keys,), (values,) = signature.inputs, signature.outputs
    assert (signature.name, keys.alias, values.alias, keys.shape) == (DEFAULT_SIGNATURE, "keys", "values", (-1,))
    return keys.dtype.name, values.dtype.name, values.shape


def texts(*keys: str) -> Array:
    array = np.empty(len(keys), dtype=object)
    array[:] = [key.encode() for key in keys]
    return array


def answers(folder: Path, keys: Array, **options: str) -> list[Any]:
    servable = loader(folder, **options).load()
    return servable.run(DEFAULT_SIGNATURE, {"keys": keys})["values"].tolist()  # type: ignore[no-any-return]


def failure(folder: Path, **options: str) -> tuple[Code, str]:
    with pytest.raises(ServingError) as caught:
        loader(folder, **options).load()
    return caught.value.code, caught.value.message


def put(folder: Path, name: str, content: str | bytes) -> Path:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


# Answers.


def test_a_table_of_texts(tmp_path: Path) -> None:
    put(tmp_path, "table.csv", 'DE,Germany\n"a,b","say ""hi""\nthere"\nFR,France\r\nDE,again\n,empty\n')
    assert types(tmp_path) == ("string", "string", (-1,))
    found = answers(tmp_path, texts("FR", "DE", "a,b", "", "FR"))
    assert found == [b"France", b"Germany", b'say "hi"\nthere', b"empty", b"France"]
    assert answers(tmp_path, texts()) == []


def test_a_json_object_of_vectors(tmp_path: Path) -> None:
    put(tmp_path, "table.json", '{"a": [1, 2.5], "b": [3, 4], "a": [0, 0]}')
    assert types(tmp_path) == ("string", "double", (-1, 2))
    assert answers(tmp_path, texts("b", "a")) == [[3, 4], [1, 2.5]]


def test_json_pairs_with_integers_as_keys(tmp_path: Path) -> None:
    put(tmp_path, "table.json", f"[[7, 1], [{-(2**63)}, 2], [{2**63 - 1}, 3], [7, 4]]")
    assert types(tmp_path) == ("int64", "int64", (-1,))
    assert answers(tmp_path, np.array([2**63 - 1, 7, -(2**63)])) == [3, 1, 2]


def test_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "keys.npy", np.array([9, 3, 9], dtype=np.uint8))
    np.save(tmp_path / "values.npy", np.arange(12, dtype=np.float16).reshape(3, 2, 2))
    assert types(tmp_path) == ("int64", "float", (-1, 2, 2))
    assert answers(tmp_path, np.array([3, 9])) == [[[4, 5], [6, 7]], [[0, 1], [2, 3]]]
    assert answers(tmp_path, np.array([4]), default="[[1, 2], [3, 0.5]]") == [[[1, 2], [3, 0.5]]]


@pytest.mark.parametrize("kind", ["U", "S"])
def test_arrays_of_text(tmp_path: Path, kind: str) -> None:
    np.save(tmp_path / "keys.npy", np.array(["one", "two"], dtype=kind))
    np.save(tmp_path / "values.npy", np.array(["1", "zwei"], dtype=kind))
    assert types(tmp_path) == ("string", "string", (-1,))
    assert answers(tmp_path, texts("two", "one")) == [b"zwei", b"1"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a,1\nb,-2\n", ("string", "int64")),
        ("1,1\n-2,0\n", ("int64", "int64")),
        ("1,1\n2,0.5\n", ("int64", "double")),
        ("1,1e3\n", ("int64", "double")),
        ("007,007\n", ("string", "string")),
        ("1.5,nan\n", ("string", "string")),
        ("1_0,1_0\n", ("string", "string")),
        (" 1, 1\n", ("string", "string")),
        (f"{2**63},{2**63}\n", ("string", "double")),
        (f"{2**63 - 1},{-(2**63)}\n", ("int64", "int64")),
        ("1" * 5000 + "," + "\u0661\n", ("string", "string")),
        ("1,\n", ("int64", "string")),
        ("", ("string", "string")),
    ],
)
def test_types_in_csv(tmp_path: Path, content: str, expected: tuple[str, str]) -> None:
    assert types(put(tmp_path, "table.csv", content))[:2] == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{}", ("string", "string")),
        ("[]", ("string", "string")),
        ('{"1": "1"}', ("string", "string")),
        ('{"1": 1}', ("string", "int64")),
        ('[["1", 1], ["2", 1.5]]', ("string", "double")),
        ("[[1, NaN]]", ("int64", "double")),
        ("[[1, [1, 2]]]", ("int64", "int64")),
    ],
)
def test_types_in_json(tmp_path: Path, content: str, expected: tuple[str, str]) -> None:
    assert types(put(tmp_path, "table.json", content))[:2] == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"key_type": "string"}, ("string", "int64")),
        ({"value_type": "string"}, ("int64", "string")),
        ({"value_type": "float"}, ("int64", "float")),
        ({"value_type": "double", "key_type": "int64"}, ("int64", "double")),
    ],
)
def test_types_that_are_asked_for(tmp_path: Path, options: dict[str, str], expected: tuple[str, str]) -> None:
    assert types(put(tmp_path, "table.csv", "1,1\n2,2\n"), **options)[:2] == expected


def test_integers_as_keys_of_an_object(tmp_path: Path) -> None:
    put(tmp_path, "table.json", '{"5": "five"}')
    assert answers(tmp_path, np.array([5]), key_type="int64") == [b"five"]


def test_a_file_by_another_name(tmp_path: Path) -> None:
    put(put(tmp_path, "table.csv", "a,1\n"), "other.csv", "a,2\n")
    assert answers(tmp_path, texts("a"), file="other.csv") == [2]


def test_a_byte_order_mark_is_no_key(tmp_path: Path) -> None:
    put(tmp_path, "table.csv", b"\xef\xbb\xbfa,1\n")
    assert answers(tmp_path, texts("a")) == [1]


def test_a_cell_may_be_long(tmp_path: Path) -> None:
    put(tmp_path, "table.csv", "a," + "x" * 200_000 + "\n")
    assert answers(tmp_path, texts("a")) == [b"x" * 200_000]


@pytest.mark.parametrize(
    ("content", "default", "expected"),
    [
        ("a,x\n", "none", b"none"),
        ("a,x\n", "", b""),
        ("a,1\n", "-1", -1),
        ("a,1.5\n", "0", 0.0),
        ("a,1.5\n", "NaN", float("nan")),
    ],
)
def test_unknown_keys_with_a_default(tmp_path: Path, content: str, default: str, expected: Any) -> None:
    put(tmp_path, "table.csv", content)
    first, second = answers(tmp_path, texts("b", "a"), default=default)
    assert str(first) == str(expected)
    assert str(second) != str(expected)


@pytest.mark.parametrize(
    ("content", "keys", "text"),
    [
        ("a,1\n", texts("a", "b", "c"), 'Key "b" is not in the table'),
        ("1,1\n", np.array([1, -5]), "Key -5 is not in the table"),
        ("a,1\n", texts("k" * 999), f'Key "{"k" * 200}..." is not in the table'),
        ("", texts("a"), 'Key "a" is not in the table'),
    ],
)
def test_unknown_keys(tmp_path: Path, content: str, keys: Array, text: str) -> None:
    servable = loader(put(tmp_path, "table.csv", content)).load()
    with pytest.raises(ServingError) as caught:
        servable.run(DEFAULT_SIGNATURE, {"keys": keys})
    assert (caught.value.code, caught.value.message) == (Code.NOT_FOUND, text)


def test_an_empty_table_of_integers(tmp_path: Path) -> None:
    put(tmp_path, "table.csv", "")
    assert answers(tmp_path, np.array([1]), key_type="int64", value_type="int64", default="3") == [3]


@given(st.lists(st.tuples(st.integers(-5, 5) | st.integers(-(2**63), 2**63 - 1), st.integers(-9, 9))), st.data())
def test_against_a_dict(pairs: list[tuple[int, int]], data: st.DataObject) -> None:
    expected: dict[int, int] = {}
    for key, value in pairs:
        expected.setdefault(key, value)
    asked = data.draw(st.lists(st.sampled_from([*expected, -6, 6, 2**63 - 1, -(2**63)])))
    wanted = [expected.get(key, 99) for key in asked]
    keys, values = [key for key, _ in pairs], [value for _, value in pairs]
    column = value_column(values, "int64", False, keys)
    default = np.array([99])
    by_number = LookupTable(key_column(keys, "int64", False), column, default)
    by_text = LookupTable(key_column(list(map(str, keys)), "string", False), column, default)
    found = by_number.run(DEFAULT_SIGNATURE, {"keys": np.array(asked, dtype=np.int64)})["values"]
    assert found.tolist() == wanted
    assert by_text.run(DEFAULT_SIGNATURE, {"keys": texts(*map(str, asked))})["values"].tolist() == wanted


def test_integers_with_a_default_share_batches(tmp_path: Path) -> None:
    put(tmp_path, "table.csv", "0,5\n1,7\n")
    int64 = (BY_NAME["int64"].number, LaneColumn("<i8", ()))
    report = probe(PluginVersion(loader(tmp_path, default="0").load()), DEFAULT_SIGNATURE, (int64,))
    assert (report.batched, report.form and report.form.outputs) == (True, (int64,))


# Files that are no table.


def test_a_folder_without_a_table(tmp_path: Path) -> None:
    text = f"{tmp_path} holds no table: table.csv, table.json or keys.npy with values.npy expected"
    assert failure(tmp_path) == (Code.NOT_FOUND, text)
    assert failure(tmp_path / "gone")[0] == Code.NOT_FOUND
    (tmp_path / "table.csv").mkdir()
    assert failure(tmp_path) == (Code.NOT_FOUND, text)


def test_more_than_one_table(tmp_path: Path) -> None:
    put(put(tmp_path, "table.csv", ""), "table.json", "{}")
    np.save(tmp_path / "keys.npy", np.arange(3))
    text = f"{tmp_path} holds more than one table: table.csv, table.json, keys.npy"
    assert failure(tmp_path) == (Code.INVALID_ARGUMENT, text)


@pytest.mark.parametrize(("there", "missing"), [("keys.npy", "values.npy"), ("values.npy", "keys.npy")])
def test_half_a_table(tmp_path: Path, there: str, missing: str) -> None:
    np.save(tmp_path / there, np.arange(3))
    assert failure(tmp_path) == (Code.NOT_FOUND, f"{tmp_path}/{missing}; No such file")


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("table.csv", "a,1\nb\n", "line 2: 1 columns, expected a key and a value"),
        ("table.csv", "a,1\n\nb,2\n", "line 2: 0 columns"),
        ("table.csv", "a,1,2\n", "line 1: 3 columns"),
        ("table.csv", '"a\nb",1\nc\n', "line 3: 1 columns"),
        ("table.csv", 'a,"1\n', "line 1: unexpected end of data"),
        ("table.csv", 'a,"1"2\n', "line 1: "),
        ("table.csv", b"a,\xff\n", "is not UTF-8: "),
        ("table.json", "", "is no JSON: "),
        ("table.json", '{"a": }', "is no JSON: "),
        ("table.json", b'{"a": "\xff"}', "is not UTF-8: "),
        ("table.json", "[" * 100_000, "is no JSON: "),
        ("table.json", '{"a": ' + "1" * 5000 + "}", "is no JSON: "),
        ("table.json", '"text"', "an object, or a list of [key, value] pairs, expected"),
        ("table.json", "5", "an object, or a list of [key, value] pairs, expected"),
        ("table.json", '[["a", 1], ["b"]]', "element 1 is no [key, value] pair"),
        ("table.json", '[["a", 1], 5]', "element 1 is no [key, value] pair"),
        ("table.json", '[{"a": 1, "b": 2}]', "element 0 is no [key, value] pair"),
        ("table.json", '[["a", 1], [5, 1]]', "key 2: 5 is no string as others are"),
        ("table.json", "[[true, 1]]", "key 1: True is no string"),
        ("table.json", "[[[1], 1]]", "key 1: [1] is no string"),
        ("table.json", f"[[{2**63}, 1]]", "a number does not fit int64"),
        ("table.json", '{"a": 1, "b": "x"}', "the value of key 'a': 1 is no string as others are"),
        ("table.json", '{"a": 1, "b": null}', "the value of key 'a': 1 is no string"),
        ("table.json", '{"a": true}', "the value of key 'a': True is no string"),
        ("table.json", '{"a": {"b": 1}}', "the value of key 'a': [('b', 1)] is no string"),
        ("table.json", '{"a": [1], "b": [1, 2]}', "the value of key 'b': [1, 2] is no vector of 1 numbers as others are"),
        ("table.json", '{"a": [1], "b": 2}', "the value of key 'a': [1] is no string"),
        ("table.json", '{"a": [1, "x"]}', "the value of key 'a': [1, 'x'] is no string"),
        ("table.json", f'{{"a": {2**63}}}', "a number does not fit int64"),
        ("table.json", '{"a": [' + "9" * 400 + ", 1.5]}", "a number does not fit double"),
        ("table.json", '{"\\ud800": 1}', "key 1: '\\ud800' is no string"),
        ("table.json", '{"a": "' + "x" * 300 + '", "b": 5}', "the value of key 'b': 5 is no string"),
    ],
)
def test_text_that_is_no_table(tmp_path: Path, name: str, content: str | bytes, text: str) -> None:
    code, message = failure(put(tmp_path, name, content))
    assert code == Code.INVALID_ARGUMENT
    assert message.startswith(f"{tmp_path}/{name}: {text}")


@pytest.mark.parametrize(
    ("keys", "values", "text"),
    [
        (np.arange(3), np.arange(2), "values.npy: 2 values for 3 keys in keys.npy"),
        (np.arange(3.0), np.arange(3), "values.npy: an array of float64 with 1 dimensions can't be strings"),
        (np.zeros((3, 2), int), np.arange(3), "keys must be strings or integers, not vectors"),
        (np.array([2**63], np.uint64), np.arange(1), "9223372036854775808 does not fit int64"),
        (np.arange(1), np.zeros(1, complex), "an array of complex128 with 1 dimensions can't be strings"),
        (np.arange(1), np.zeros(1, np.longdouble), "an array of float128 can't be double"),
        (np.arange(1), np.array([["a"]]), "an array of <U1 with 2 dimensions can't be strings"),
        (np.array(5), np.array(5), "keys.npy: is no array with a first dimension"),
        (np.array([None]), np.arange(1), "keys.npy: is no array: Object arrays cannot be loaded"),
    ],
)
def test_arrays_that_are_no_table(tmp_path: Path, keys: Array, values: Array, text: str) -> None:
    np.save(tmp_path / "keys.npy", keys)
    np.save(tmp_path / "values.npy", values)
    code, message = failure(tmp_path)
    assert code == Code.INVALID_ARGUMENT
    assert text in message


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x93NUMPY\x01\x00", b"PK\x03\x04nonsense", b"\x80\x04N."])
def test_files_that_are_no_arrays(tmp_path: Path, content: bytes) -> None:
    np.save(tmp_path / "values.npy", np.arange(1))
    code, message = failure(put(tmp_path, "keys.npy", content))
    assert code == Code.INVALID_ARGUMENT
    assert message.startswith(f"{tmp_path}/keys.npy: is no array")


def test_a_truncated_array(tmp_path: Path) -> None:
    for name in ("keys.npy", "values.npy"):
        np.save(tmp_path / name, np.arange(100))
    content = (tmp_path / "keys.npy").read_bytes()
    assert failure(put(tmp_path, "keys.npy", content[:-8]))[0] == Code.INVALID_ARGUMENT


# Options.


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"defualt": "x", "a": ""}, "unknown: a, defualt; known are file, key_type, value_type, default"),
        ({"key_type": "float"}, '"key_type" must be one of string, int64, not "float"'),
        ({"value_type": "half"}, '"value_type" must be one of string, int64, float, double, not "half"'),
        ({"file": "../table.csv"}, '"file" must be the name of a .csv or .json file in the version\'s folder'),
        ({"file": "table.txt"}, '"file" must be the name of a .csv or .json file'),
        ({"default": "x"}, '"default" must be of the values\' type int64, not "x"'),
        ({"default": "1.5"}, '"default" must be of the values\' type int64, not "1.5"'),
        ({"default": ""}, '"default" must be of the values\' type int64, not ""'),
        ({"default": "true"}, '"default" must be of the values\' type int64'),
        ({"default": str(2**63)}, '"default" must be of the values\' type int64'),
        ({"default": '"1"'}, '"default" must be of the values\' type int64'),
        ({"default": "[[1], [1, 2]]"}, '"default" must be of the values\' type int64'),
        ({"default": "[" * 100_000}, '"default" must be of the values\' type int64'),
        ({"default": "[1]"}, '"default" has the shape [1], the values []'),
        ({"default": "[1]", "value_type": "double"}, '"default" has the shape [1], the values []'),
    ],
)
def test_options_that_are_refused(tmp_path: Path, options: dict[str, str], text: str) -> None:
    code, message = failure(put(tmp_path, "table.csv", "a,1\n"), **options)
    assert code == Code.INVALID_ARGUMENT
    assert message.startswith(f"loader_options: {text}")


@pytest.mark.parametrize(
    ("content", "options", "text"),
    [
        ("a,1\nb,x\n", {"value_type": "int64"}, "the value of key 'b': 'x' is no int64"),
        ("a,1\nb,1.5\n", {"value_type": "int64"}, "the value of key 'b': '1.5' is no int64"),
        ("a,x\n", {"value_type": "double"}, "the value of key 'a': 'x' is no double"),
        ("1,1\nb,1\n", {"key_type": "int64"}, "key 2: 'b' is no int64"),
        ("1" * 5000 + ",1\n", {"key_type": "int64"}, "a number does not fit int64"),
    ],
)
def test_cells_that_are_not_of_the_type_asked_for(
    tmp_path: Path, content: str, options: Mapping[str, str], text: str
) -> None:
    code, message = failure(put(tmp_path, "table.csv", content), **options)
    assert (code, message) == (Code.INVALID_ARGUMENT, f"{tmp_path}/table.csv: {text}")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert failure(tmp_path, file="x.csv") == (Code.NOT_FOUND, f"{tmp_path}/x.csv; No such file")


# Memory.


def test_the_estimate_is_by_the_table_alone(tmp_path: Path) -> None:
    put(put(tmp_path, "table.csv", "a,1\n"), "readme.txt", "x" * 1000)
    assert loader(tmp_path).estimate() == 40
    put(tmp_path, "other.json", json.dumps({"a": 1}))
    assert loader(tmp_path, file="other.json").estimate() == 80
    with pytest.raises(ServingError):
        loader(tmp_path / "gone").estimate()
