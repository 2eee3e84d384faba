"""One model of the configuration, and what is wrong with a list of them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from manager.config_messages import ModelServerConfig
from manager.version_policy import LatestPolicy, VersionPolicy, policy_from_proto
from ringserve import plugins
from ringserve.errors import Code, ServingError

TENSORFLOW: Final = "tensorflow"
_TENSORFLOW_TYPE: Final = 1  # of the deprecated model_type

#: A version and its share of a label's requests.
Weighted = tuple[int, float]


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A servable stream: its name, where its versions are and which to serve, and how requests find them.

    `source` "": the file system at `base_path`; `devices` empty: every worker.
    """

    name: str
    base_path: str
    policy: VersionPolicy = field(default_factory=LatestPolicy)
    platform: str = TENSORFLOW
    labels: Mapping[str, int] = field(default_factory=dict)
    splits: Mapping[str, Sequence[Weighted]] = field(default_factory=dict)
    shadows: Sequence[Weighted] = ()
    devices: Sequence[str] = ()
    source: str = ""
    source_options: Mapping[str, str] = field(default_factory=dict)
    loader_options: Mapping[str, str] = field(default_factory=dict)
    message: Any = field(default=None, compare=False)  # what it was made of; None for the model of the flags

    @classmethod
    def from_message(cls, message: Any) -> ModelConfig:
        """Raises ServingError where the message contradicts itself."""
        return cls(
            message.name,
            message.base_path,
            policy_from_proto(message.model_version_policy),
            _platform(message),
            dict(message.version_labels),
            _splits(message),
            tuple((shadow.version, shadow.sampling_rate) for shadow in message.shadows),
            tuple(message.devices),
            message.source,
            dict(message.source_options),
            dict(message.loader_options),
            message,
        )

    def write(self, message: Any) -> None:
        """Put it into an empty ModelConfig message."""
        if self.message is not None:
            message.CopyFrom(self.message)
        else:
            message.name, message.base_path, message.model_platform = self.name, self.base_path, self.platform

    @property
    def routing(self) -> dict[str, list[Weighted]]:
        """Each label's versions with their shares: all of one version's for a plain label."""
        plain = {label: [(version, 1.0)] for label, version in self.labels.items()}
        return plain | {label: list(versions) for label, versions in self.splits.items()}


def from_config(config: Any) -> list[ModelConfig]:
    """The models of a ModelServerConfig. Raises ServingError for one that this server doesn't take."""
    if config.HasField("custom_model_config"):
        raise ServingError(Code.INVALID_ARGUMENT, "ModelServer does not yet support custom model config.")
    return [ModelConfig.from_message(model) for model in config.model_config_list.config]


def to_config(models: Iterable[ModelConfig]) -> Any:
    """The ModelServerConfig message of these models."""
    config = ModelServerConfig()
    config.model_config_list.SetInParent()
    for model in models:
        model.write(config.model_config_list.config.add())
    return config


def _splits(message: Any) -> dict[str, list[Weighted]]:
    splits: dict[str, list[Weighted]] = {}
    for split in message.label_splits:
        if split.label in splits:
            raise _invalid(f"Label {split.label} of model {message.name} is split twice")
        splits[split.label] = [(entry.version, entry.weight) for entry in split.versions]
    return splits


def _platform(message: Any) -> str:
    kind, platform = message.model_type, message.model_platform
    name: str = message.name
    if kind and platform:
        text = "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform"
        raise _invalid(f"{text}, model name is {name}")
    if not kind and not platform:
        text = "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform"
        raise _invalid(f"{text}, model name is {name}")
    if kind not in (0, _TENSORFLOW_TYPE):
        raise _invalid(f"ModelServerConfig::model_type choice {kind} not supported.")
    return str(platform or TENSORFLOW)


def check(
    models: Sequence[ModelConfig], devices: Collection[str], present: Mapping[str, ModelConfig] = MappingProxyType({})
) -> None:
    """Raises ServingError (INVALID_ARGUMENT) for the first thing that can't be, in upstream's words where it has any.

    `devices`: those of the server's workers; `present`: the models that it has now, by name.
    """
    seen = set()
    for model in models:
        if model.name in seen:
            raise _invalid(f"Illegal to list model {model.name} multiple times in config list")
        seen.add(model.name)
    for model in models:
        if not model.name:
            raise _invalid("A model in the config list has no name")
        if not model.source and not (model.base_path.startswith("/") or "://" in model.base_path):
            text = f"Expected model {model.name} to have an absolute path or URI; got base_path()={model.base_path}"
            raise _invalid(text)
    for model in models:
        _check_platform(model, present.get(model.name))
    for model in models:
        _check_plugins(model)
        _check_traffic(model)
        for device in model.devices:
            if device not in devices:
                text = f"Model {model.name} is to be on device {device}, which is none of the server's: {', '.join(devices)}"
                raise _invalid(text)
        if model.message is not None and model.message.HasField("logging_config"):
            raise _invalid("No request-logger-creator provided.")


def _check_platform(model: ModelConfig, old: ModelConfig | None) -> None:
    if old is not None and old.platform != model.platform:
        text = f"Illegal to change a model's platform. For model {model.name} platform was {old.platform}"
        raise _invalid(f"{text} and new platform requested is {model.platform}")


def _check_plugins(model: ModelConfig) -> None:
    if not plugins.exists(plugins.LOADERS, model.platform):
        raise _invalid(f"Model {model.name} requests unsupported platform {model.platform}")
    if model.source and not plugins.exists(plugins.SOURCES, model.source):
        raise _invalid(f"Model {model.name} requests unknown source {model.source}")


def _check_traffic(model: ModelConfig) -> None:
    for label, versions in model.splits.items():
        where = f"Label {label} of model {model.name}"
        if label in model.labels:
            raise _invalid(f"{where} is both in version_labels and in label_splits")
        if not versions:
            raise _invalid(f"{where} is split between no versions")
        if len({version for version, _ in versions}) < len(versions):
            raise _invalid(f"{where} names a version twice")
        for version, weight in versions:
            if not (math.isfinite(weight) and weight >= 0):
                raise _invalid(f"{where} gives version {version} the weight {weight:g}; expected a number from 0")
        total = sum(weight for _, weight in versions)
        if not (math.isfinite(total) and total > 0):
            raise _invalid(f"{where} has weights that add up to {total:g}; expected more than 0")
    if len({version for version, _ in model.shadows}) < len(model.shadows):
        raise _invalid(f"Model {model.name} shadows a version twice")
    for version, rate in model.shadows:
        if not 0 < rate <= 1:
            text = f"Model {model.name} shadows version {version} at sampling_rate {rate:g}; expected more than 0, at most 1"
            raise _invalid(text)


def _invalid(text: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, text)
