"""Which models the flags or a model config file ask for, and the texts for those that can't be."""

from __future__ import annotations

from pathlib import Path

import pytest

from manager.model_config import ModelConfig, model_configs
from manager.version_policy import parse_versions
from ringserve.errors import Code, ServingError
from ringserve.options import ServerOptions


def read(folder: Path, text: str) -> list[ModelConfig]:
    path = folder / "models.config"
    path.write_text(text, encoding="utf-8")
    return model_configs(ServerOptions(model_config_file=str(path)))


def refused(folder: Path, text: str) -> ServingError:
    with pytest.raises(ServingError) as caught:
        read(folder, text)
    return caught.value


def model(fields: str) -> str:
    return f"model_config_list {{ config {{ {fields} }} }}"


def test_flags_name_one_model_and_its_latest_version() -> None:
    (config,) = model_configs(ServerOptions(model_name="m", model_base_path="/models/m"))
    assert (config.name, config.base_path) == ("m", "/models/m")
    assert config.policy(parse_versions(["1", "2"])) == [(2, "2")]


def test_a_config_file_takes_the_place_of_the_flags(tmp_path: Path) -> None:
    path = tmp_path / "models.config"
    path.write_text(model("name: 'b' base_path: '/b' model_platform: 'tensorflow'"), encoding="utf-8")
    options = ServerOptions(model_name="a", model_base_path="relative", model_config_file=str(path))
    assert [(config.name, config.base_path) for config in model_configs(options)] == [("b", "/b")]


@pytest.mark.parametrize(
    "text",
    [
        """
        model_config_list {
          config { name: "a" base_path: "/a" model_platform: "tensorflow" }
          config { name: "b" base_path: "/b" model_platform: "tensorflow" }
        }""",
        """# as in upstream's test data
        model_config_list: {
          config: { name: "a", base_path: "/a", model_platform: "tensorflow" },
          config: { name: 'b'; base_path: '/b'; model_platform: 'tensorflow' },
        }""",
        """model_config_list <
          config < name: "a" base_path: "/a" model_type: TENSORFLOW >
          config < name: "b" base_path: "/b" model_type: 1 > >""",
    ],
)
def test_ways_to_write_the_same_two_models(tmp_path: Path, text: str) -> None:
    assert [(config.name, config.base_path) for config in read(tmp_path, text)] == [("a", "/a"), ("b", "/b")]


def test_a_version_policy_of_its_own(tmp_path: Path) -> None:
    fields = "name: 'a' base_path: '/a' model_platform: 'tensorflow' model_version_policy { specific { versions: 1 } }"
    (config,) = read(tmp_path, model(fields))
    assert config.policy(parse_versions(["1", "2"])) == [(1, "1")]


@pytest.mark.parametrize("text", ["", "# only a comment\n", "model_config_list {}"])
def test_a_file_without_models_is_an_empty_list(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == []


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (
            "name: 'm' base_path: '/m'",
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform, "
            "model name is m",
        ),
        (
            "name: 'm' base_path: '/m' model_type: TENSORFLOW model_platform: 'tensorflow'",
            "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform, "
            "model name is m",
        ),
        ("name: 'm' base_path: '/m' model_type: OTHER", "ModelServerConfig::model_type choice 2 not supported."),
        ("name: 'm' base_path: '/m' model_platform: 'onnx'", "Model m requests unsupported platform onnx"),
        (
            "name: 'm' base_path: 'some/where' model_platform: 'tensorflow'",
            "Expected model m to have an absolute path or URI; got base_path()=some/where",
        ),
        (
            "name: 'm' model_platform: 'tensorflow'",
            "Expected model m to have an absolute path or URI; got base_path()=",
        ),
    ],
)
def test_models_that_cannot_be(tmp_path: Path, fields: str, text: str) -> None:
    error = refused(tmp_path, model(fields))
    assert (error.code, error.message) == (Code.INVALID_ARGUMENT, text)


def test_a_relative_path_on_the_command_line_is_refused_too() -> None:
    with pytest.raises(ServingError) as caught:
        model_configs(ServerOptions(model_base_path="models/m"))
    text = "Expected model default to have an absolute path or URI; got base_path()=models/m"
    assert (caught.value.code, caught.value.message) == (Code.INVALID_ARGUMENT, text)


def test_a_name_given_twice_is_refused(tmp_path: Path) -> None:
    entry = "config { name: 'm' base_path: '/m' model_platform: 'tensorflow' }"
    error = refused(tmp_path, f"model_config_list {{ {entry} {entry} }}")
    assert (error.code, error.message) == (
        Code.INVALID_ARGUMENT,
        "Illegal to list model m multiple times in config list",
    )


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("this is not a config", "1:1 "),
        ("model_config_list {\n  config { nmae: 'm' }\n}", "2:12 "),
        ("model_config_list { config { name: 'm' }", "1:40 "),
    ],
)
def test_a_file_that_cannot_be_parsed_says_where(tmp_path: Path, text: str, place: str) -> None:
    error = refused(tmp_path, text)
    path = tmp_path / "models.config"
    start = f"Invalid protobuf file: '{path}': Error parsing text-format tensorflow.serving.ModelServerConfig: {place}"
    assert error.code is Code.INVALID_ARGUMENT
    assert error.message.startswith(start)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "models.config"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ServingError, match="Invalid protobuf file"):
        model_configs(ServerOptions(model_config_file=str(path)))


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "missing"
    with pytest.raises(ServingError) as caught:
        model_configs(ServerOptions(model_config_file=str(path)))
    assert (caught.value.code, caught.value.message) == (Code.NOT_FOUND, f"{path}; No such file or directory")


def test_a_custom_config_is_refused_instead_of_serving_nothing(tmp_path: Path) -> None:
    error = refused(tmp_path, "custom_model_config { type_url: 'type.googleapis.com/x' }")
    text = "ModelServer does not yet support custom model config."
    assert (error.code, error.message) == (Code.INVALID_ARGUMENT, text)
