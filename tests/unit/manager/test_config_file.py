"""The model config file: what can't be read or parsed, and whether there is something new in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manager.config_file import ConfigFile, parse_config
from ringserve.errors import Code, ServingError

GOOD = b'model_config_list { config { name: "m" base_path: "/m" model_platform: "tensorflow" } }'


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (b"this is not a config", "1:1 "),
        (b"model_config_list {\n  config { nmae: 'm' }\n}", "2:12 "),
        (b"model_config_list { config { name: 'm' }", "1:40 "),
        (b"model_config_list { config { model_type: TENSORFLOWS } }", "1:42 "),
        (b"model_config_list { config { version_labels { key: 'a' value: 'b' } } }", "1:63 "),
    ],
)
def test_a_text_that_cannot_be_parsed_says_where(text: bytes, place: str) -> None:
    with pytest.raises(ServingError) as caught:
        parse_config("/x/models.config", text)
    start = "Invalid protobuf file: '/x/models.config': Error parsing text-format tensorflow.serving.ModelServerConfig: "
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.message.startswith(start + place)


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"custom_model_config " + b"{ value " * 20_000])
def test_bytes_that_are_no_text_or_too_much_of_it(data: bytes) -> None:
    with pytest.raises(ServingError, match="Invalid protobuf file"):
        parse_config("models.config", data)


@given(st.one_of(st.binary(max_size=60), st.text(alphabet="model_config_list{}:\"'<>[]# 01-./\\\n", max_size=60)))
def test_any_file_at_all_is_a_config_or_an_error(data: bytes | str) -> None:
    try:
        parse_config("models.config", data if isinstance(data, bytes) else data.encode())
    except ServingError as error:
        assert error.code is Code.INVALID_ARGUMENT


def test_a_file_of_no_bytes_is_an_error_and_one_without_models_is_not() -> None:
    with pytest.raises(ServingError) as caught:
        parse_config("/x/models.config", b"")
    assert (caught.value.code, caught.value.message) == (Code.INVALID_ARGUMENT, "/x/models.config; Invalid argument")
    assert parse_config("models.config", b"# nothing yet\n").WhichOneof("config") is None
    assert parse_config("models.config", b"model_config_list {}").WhichOneof("config") == "model_config_list"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "missing"
    with pytest.raises(ServingError) as caught:
        ConfigFile(str(path)).read()
    assert (caught.value.code, caught.value.message) == (Code.NOT_FOUND, f"{path}; No such file or directory")


@pytest.mark.parametrize("name", ["folder", "pipe"])
def test_what_is_no_plain_file_is_not_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ServingError) as caught:
        ConfigFile(str(tmp_path / name)).read()
    assert (caught.value.code, caught.value.message) == (Code.INVALID_ARGUMENT, f"{tmp_path / name} is not a plain file")


def test_what_was_applied_is_not_new(tmp_path: Path) -> None:
    path = tmp_path / "models.config"
    path.write_bytes(GOOD)
    file = ConfigFile(str(path))
    data = file.read()
    assert data == GOOD
    assert file.is_new(data)
    assert file.parse(data).model_config_list.config[0].name == "m"
    assert file.is_new(data), "to read it is not to apply it"
    file.applied(data)
    assert not file.is_new(file.read())
    path.write_bytes(GOOD + b"\n")
    assert file.is_new(file.read())
