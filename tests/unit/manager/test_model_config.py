"""Models as a config describes them, and the texts for those that can't be."""

from __future__ import annotations

import pytest

from manager.config_file import parse_config
from manager.config_messages import ModelServerConfig
from manager.model_config import ModelConfig, check, from_config, to_config
from manager.version_policy import AllPolicy, LatestPolicy, SpecificPolicy, VersionPolicy
from ringserve.errors import Code, ServingError

DEVICES = ("cpu:0", "cpu:1")
PLAIN = "name: 'm' base_path: '/m' model_platform: 'tensorflow'"


def read(*models: str) -> list[ModelConfig]:
    configs = "".join(f"config {{ {fields} }} " for fields in models)
    return from_config(parse_config("models.config", f"model_config_list {{ {configs} }}".encode()))


def refused(*models: str) -> str:
    with pytest.raises(ServingError) as caught:
        check(read(*models), DEVICES)
    assert caught.value.code is Code.INVALID_ARGUMENT
    return caught.value.message


def test_a_plain_model() -> None:
    models = read(PLAIN)
    check(models, DEVICES)
    assert models == [ModelConfig("m", "/m")]
    assert models[0].policy == LatestPolicy(1)


def test_a_model_with_everything() -> None:
    (model,) = read(
        f"""{PLAIN} version_labels {{ key: 'stable' value: 1 }} devices: 'cpu:1'
        label_splits {{ label: 'prod' versions {{ version: 1 weight: 95 }} versions {{ version: 2 weight: 5 }} }}
        shadows {{ version: 2 sampling_rate: 0.1 }} loader_options {{ key: 'a' value: 'b' }}"""
    )
    check([model], DEVICES)
    assert (model.labels, model.splits) == ({"stable": 1}, {"prod": [(1, 95.0), (2, 5.0)]})
    assert model.routing == {"stable": [(1, 1.0)], "prod": [(1, 95.0), (2, 5.0)]}
    assert (list(model.shadows), model.devices, model.loader_options) == ([(2, 0.1)], ("cpu:1",), {"a": "b"})


@pytest.mark.parametrize(
    ("fields", "policy"),
    [
        ("latest {}", LatestPolicy(1)),
        ("latest { num_versions: 3 }", LatestPolicy(3)),
        ("all {}", AllPolicy()),
        ("specific { versions: 2 versions: 10 }", SpecificPolicy((2, 10))),
        ("specific {}", SpecificPolicy(())),
    ],
)
def test_version_policies(fields: str, policy: VersionPolicy) -> None:
    (model,) = read(f"{PLAIN} model_version_policy {{ {fields} }}")
    assert model.policy == policy


@pytest.mark.parametrize("path", ["/m", "file:///m", "gs://bucket/m", "/"])
def test_paths_that_are_fine(path: str) -> None:
    check(read(f"name: 'm' base_path: '{path}' model_type: TENSORFLOW"), DEVICES)


@pytest.mark.parametrize("path", ["", "models/m", "./m", "m://"[:1]])
def test_relative_paths_are_refused(path: str) -> None:
    text = f"Expected model m to have an absolute path or URI; got base_path()={path}"
    assert refused(f"name: 'm' base_path: '{path}' model_platform: 'tensorflow'") == text


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (
            "name: 'm' base_path: '/m'",
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform, "
            "model name is m",
        ),
        (
            f"{PLAIN} model_type: TENSORFLOW",
            "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform, "
            "model name is m",
        ),
        ("name: 'm' base_path: '/m' model_type: OTHER", "ModelServerConfig::model_type choice 2 not supported."),
        ("name: 'm' base_path: '/m' model_platform: 'onnx'", "Model m requests unsupported platform onnx"),
        (
            "name: 'm' base_path: '/m' model_platform: 'no_such:Loader'",
            "Model m requests unsupported platform no_such:Loader",
        ),
        ("base_path: '/m' model_platform: 'tensorflow'", "A model in the config list has no name"),
        (f"{PLAIN} source: 'nowhere:Source'", "Model m requests unknown source nowhere:Source"),
        (
            f"{PLAIN} devices: 'cpu:1' devices: 'gpu:0'",
            "Model m is to be on device gpu:0, which is none of the server's: cpu:0, cpu:1",
        ),
    ],
)
def test_models_that_cannot_be(fields: str, text: str) -> None:
    assert refused(fields) == text


def split(*versions: str) -> str:
    return f"{PLAIN} label_splits {{ label: 'prod' {' '.join(f'versions {{ {fields} }}' for fields in versions)} }}"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (split(), "Label prod of model m is split between no versions"),
        (split("version: 1 weight: 1", "version: 1 weight: 2"), "Label prod of model m names a version twice"),
        (split("version: 1"), "Label prod of model m has weights that add up to 0; expected more than 0"),
        (
            split("version: 1 weight: -5", "version: 2 weight: 10"),
            "Label prod of model m gives version 1 the weight -5; expected a number from 0",
        ),
        (split("version: 1 weight: nan"), "Label prod of model m gives version 1 the weight nan; expected a number from 0"),
        (split("version: 1 weight: inf"), "Label prod of model m gives version 1 the weight inf; expected a number from 0"),
        (
            split("version: 1 weight: 1e308", "version: 2 weight: 1e308"),
            "Label prod of model m has weights that add up to inf; expected more than 0",
        ),
        (
            split("version: 1 weight: 1") + "version_labels { key: 'prod' value: 1 }",
            "Label prod of model m is both in version_labels and in label_splits",
        ),
        (
            split("version: 1 weight: 1") + "label_splits { label: 'prod' versions { version: 2 weight: 1 } }",
            "Label prod of model m is split twice",
        ),
        (
            f"{PLAIN} shadows {{ version: 2 }}",
            "Model m shadows version 2 at sampling_rate 0; expected more than 0, at most 1",
        ),
        (
            f"{PLAIN} shadows {{ version: 2 sampling_rate: 1.5 }}",
            "Model m shadows version 2 at sampling_rate 1.5; expected more than 0, at most 1",
        ),
        (
            f"{PLAIN} shadows {{ version: 2 sampling_rate: nan }}",
            "Model m shadows version 2 at sampling_rate nan; expected more than 0, at most 1",
        ),
        (
            f"{PLAIN} shadows {{ version: 2 sampling_rate: 1 }} shadows {{ version: 2 sampling_rate: 1 }}",
            "Model m shadows a version twice",
        ),
    ],
)
def test_traffic_that_cannot_be(fields: str, text: str) -> None:
    assert refused(fields) == text


def test_a_source_that_is_a_plug_in_needs_no_base_path() -> None:
    check(read("name: 'm' model_platform: 'tensorflow' source: 'plugin_sources:Recorded'"), DEVICES)


def test_a_name_given_twice_is_refused_before_anything_else() -> None:
    text = "Illegal to list model m multiple times in config list"
    assert refused("name: 'm' base_path: 'x' model_platform: 'onnx'", PLAIN) == text


def test_a_custom_config_is_refused_instead_of_serving_nothing() -> None:
    config = ModelServerConfig()
    config.custom_model_config.type_url = "type.googleapis.com/x"
    with pytest.raises(ServingError, match="ModelServer does not yet support custom model config") as caught:
        from_config(config)
    assert caught.value.code is Code.INVALID_ARGUMENT


def test_a_config_without_models_is_an_empty_list() -> None:
    assert from_config(ModelServerConfig()) == read() == []


def test_models_become_the_message_that_they_were_made_of() -> None:
    fields = (
        f"{PLAIN} shadows {{ version: 2 sampling_rate: 0.1 }} logging_config {{ sampling_config {{ sampling_rate: 1 }} }}"
    )
    models = read(fields, "name: 'n' base_path: '/n' model_type: TENSORFLOW")
    expected = parse_config("f", f"model_config_list {{ config {{ {fields} }} }}".encode()).model_config_list.config[0]
    config = to_config(models)
    assert config.model_config_list.config[0] == expected
    assert from_config(config) == models


def test_the_model_of_the_flags_too() -> None:
    flags = ModelConfig("default", "/models/m")
    config = to_config([flags])
    assert from_config(config) == [flags]
    config.model_config_list.config[0].name = "another"
    assert to_config([flags]).model_config_list.config[0].name == "default", "each is a copy"


def test_no_models_are_still_a_list() -> None:
    assert to_config([]).WhichOneof("config") == "model_config_list"
