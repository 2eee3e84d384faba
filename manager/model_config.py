"""Which models to serve, from the flags or the model config file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from manager.version_policy import VersionPolicy, latest, policy_from_proto
from ringserve.errors import Code, ServingError
from ringserve.options import ServerOptions
from ringserve.protos import message_module


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """One model: the stream's name, the folder of its version folders, and which of these to serve."""

    name: str
    base_path: str
    policy: VersionPolicy


def model_configs(options: ServerOptions) -> list[ModelConfig]:
    """The models to serve. Raises ServingError with upstream's texts for a config that can't be."""
    if options.model_config_file:
        configs = _read(options.model_config_file)
    else:
        configs = [ModelConfig(options.model_name, options.model_base_path, latest(1))]
    seen = set()
    for config in configs:
        if config.name in seen:
            text = f"Illegal to list model {config.name} multiple times in config list"
            raise ServingError(Code.INVALID_ARGUMENT, text)
        seen.add(config.name)
        if not config.base_path.startswith("/"):
            text = f"Expected model {config.name} to have an absolute path or URI; got base_path()={config.base_path}"
            raise ServingError(Code.INVALID_ARGUMENT, text)
    return configs


def _read(path: str) -> list[ModelConfig]:
    from google.protobuf import text_format  # noqa: PLC0415 - only with a config file

    config = message_module("tensorflow_serving.config.model_server_config_pb2").ModelServerConfig()
    try:
        text_format.Parse(Path(path).read_bytes(), config)
    except OSError as error:
        raise ServingError(Code.NOT_FOUND, f"{path}; {error.strerror}") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        text = f"Invalid protobuf file: '{path}': Error parsing text-format tensorflow.serving.ModelServerConfig: {error}"
        raise ServingError(Code.INVALID_ARGUMENT, text) from error
    if config.HasField("custom_model_config"):
        raise ServingError(Code.INVALID_ARGUMENT, "ModelServer does not yet support custom model config.")
    return [_model(model) for model in config.model_config_list.config]


def _model(model: object) -> ModelConfig:
    name: str = model.name  # type: ignore[attr-defined]
    platform: str = model.model_platform  # type: ignore[attr-defined]
    kind: int = model.model_type  # type: ignore[attr-defined]
    if kind and platform:
        text = "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform"
        raise ServingError(Code.INVALID_ARGUMENT, f"{text}, model name is {name}")
    if not kind and not platform:
        text = "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform"
        raise ServingError(Code.INVALID_ARGUMENT, f"{text}, model name is {name}")
    if kind > 1:
        raise ServingError(Code.INVALID_ARGUMENT, f"ModelServerConfig::model_type choice {kind} not supported.")
    if not kind and platform != "tensorflow":
        raise ServingError(Code.INVALID_ARGUMENT, f"Model {name} requests unsupported platform {platform}")
    policy = policy_from_proto(model.model_version_policy)  # type: ignore[attr-defined]
    return ModelConfig(name, model.base_path, policy)  # type: ignore[attr-defined]
