"""The model config's messages: upstream's as they are, with fields of this server's own."""

from __future__ import annotations

from manager.config_file import parse_config
from manager.config_messages import ModelServerConfig, from_upstream
from ringserve.protos import message_module

EVERYTHING = b"""
model_config_list {
  config {
    name: "m" base_path: "/m" model_platform: "tensorflow"
    model_version_policy { specific { versions: 1 versions: 2 } }
    version_labels { key: "stable" value: 1 }
    logging_config { sampling_config { sampling_rate: 0.5 } }
    devices: "cpu:0" devices: "cpu:1"
    label_splits { label: "prod" versions { version: 1 weight: 95 } versions { version: 2 weight: 5 } }
    shadows { version: 2 sampling_rate: 0.1 }
    source: "my.sources:Table"
    source_options { key: "dsn" value: "x" }
    loader_options { key: "precision" value: "half" }
    loader_options { key: "cache" value: "" }
  }
}
"""


def upstream() -> object:
    return message_module("tensorflow_serving.config.model_server_config_pb2").ModelServerConfig()


def test_a_text_of_upstream_with_all_its_punctuation() -> None:
    text = b"""
    # as in upstream's test data
    model_config_list: {
      config: { name: "a", base_path: "/a", model_platform: "tensorflow" },
      config: { name: 'b'; base_path: '/b'; model_type: TENSORFLOW; },
    }"""
    config = parse_config("models.config", text)
    assert [(m.name, m.base_path) for m in config.model_config_list.config] == [("a", "/a"), ("b", "/b")]


def test_a_binary_message_of_upstream() -> None:
    theirs = upstream()
    model = theirs.model_config_list.config.add(name="m", base_path="/m", model_platform="tensorflow")  # type: ignore[attr-defined]
    model.model_version_policy.latest.num_versions = 2
    model.version_labels["stable"] = 7
    model.logging_config.sampling_config.sampling_rate = 0.25
    ours = from_upstream(theirs)
    (same,) = ours.model_config_list.config
    assert (same.name, same.model_version_policy.latest.num_versions, dict(same.version_labels)) == ("m", 2, {"stable": 7})
    assert same.logging_config.sampling_config.sampling_rate == 0.25
    assert ours.SerializeToString(deterministic=True) == theirs.SerializeToString(deterministic=True)  # type: ignore[attr-defined]


def test_which_kind_of_config_it_is_survives() -> None:
    theirs = upstream()
    assert from_upstream(theirs).WhichOneof("config") is None
    theirs.model_config_list.SetInParent()  # type: ignore[attr-defined]
    assert from_upstream(theirs).WhichOneof("config") == "model_config_list"
    theirs.custom_model_config.type_url = "x"  # type: ignore[attr-defined]
    assert from_upstream(theirs).WhichOneof("config") == "custom_model_config"


def test_fields_of_this_server_s_own_are_written_as_any_other() -> None:
    (model,) = parse_config("models.config", EVERYTHING).model_config_list.config
    assert list(model.devices) == ["cpu:0", "cpu:1"]
    (split,) = model.label_splits
    assert (split.label, [(v.version, v.weight) for v in split.versions]) == ("prod", [(1, 95.0), (2, 5.0)])
    assert [(shadow.version, shadow.sampling_rate) for shadow in model.shadows] == [(2, 0.1)]
    assert (model.source, dict(model.source_options)) == ("my.sources:Table", {"dsn": "x"})
    assert dict(model.loader_options) == {"precision": "half", "cache": ""}


def test_they_survive_the_wire_also_through_upstream_s_message() -> None:
    config = parse_config("models.config", EVERYTHING)
    copy = ModelServerConfig()
    copy.ParseFromString(config.SerializeToString())
    assert copy == config
    theirs = upstream()
    theirs.ParseFromString(config.SerializeToString())  # type: ignore[attr-defined]
    assert theirs.model_config_list.config[0].name == "m"  # type: ignore[attr-defined]
    assert from_upstream(theirs) == config


def test_each_is_a_message_of_its_own() -> None:
    one, other = ModelServerConfig(), ModelServerConfig()
    one.model_config_list.config.add(name="m")
    assert not other.HasField("model_config_list")
