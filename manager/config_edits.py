"""Edits of a ModelServerConfig message: what one admin command changes in it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from manager.model_config import TENSORFLOW
from ringserve.errors import Code, ServingError


def find_model(config: Any, name: str, hint: str = "") -> Any:
    """The model's own message inside the config. Raises ServingError (NOT_FOUND), with a hint what to do."""
    for model in config.model_config_list.config:
        if model.name == name:
            return model
    raise ServingError(Code.NOT_FOUND, f"no model {name} is configured{hint}")


def add_model(config: Any, name: str, base_path: str, platform: str | None) -> Any:
    """The model's message, added if it is new. Raises ServingError (ALREADY_EXISTS) when it is there and is another."""
    try:
        model = find_model(config, name)
    except ServingError:
        config.model_config_list.SetInParent()
        return config.model_config_list.config.add(name=name, base_path=base_path, model_platform=platform or TENSORFLOW)
    if _plain(model.base_path) != _plain(base_path):
        text = f"model {name} is there already, with the base path {model.base_path}"
        raise ServingError(Code.ALREADY_EXISTS, text)
    check_platform(model, platform)
    return model


def check_platform(model: Any, platform: str | None) -> None:
    """Raises ServingError (ALREADY_EXISTS) when the model has another platform than this; None is any."""
    present = model.model_platform or TENSORFLOW
    if platform not in (None, present):
        raise ServingError(Code.ALREADY_EXISTS, f"model {model.name} is there already, with the platform {present}")


def remove_model(config: Any, name: str) -> None:
    """The list stays, though it may be empty: a config without one would change nothing."""
    config.model_config_list.config.remove(find_model(config, name))


def pin_version(model: Any, version: int, held: Collection[int]) -> None:
    """Serve exactly this version and those that are served: `held`, and what the policy names."""
    _serve(model, {version, *_aspired(model, held)})


def unpin_version(model: Any, version: int, held: Collection[int]) -> None:
    """Serve exactly what is served but this version.

    Raises ServingError: NOT_FOUND when it isn't served, FAILED_PRECONDITION when it is the only one or a label needs it.
    """
    aspired = _aspired(model, held)
    if version not in aspired:
        raise ServingError(Code.NOT_FOUND, f"version {version} of model {model.name} is not served")
    if aspired == {version}:
        text = f"version {version} is the only one of model {model.name}: unload the model itself"
        raise ServingError(Code.FAILED_PRECONDITION, text)
    for label in _labels_of(model, version):
        text = f"label {label} of model {model.name} points at version {version}: move or remove the label first"
        raise ServingError(Code.FAILED_PRECONDITION, text)
    _drop_shadow(model, version)
    _serve(model, aspired - {version})


def set_label(model: Any, label: str, weights: Mapping[int, float]) -> None:
    """Point the label at these versions in place of what it had. Of one version it is a plain label, as upstream's."""
    _drop_label(model, label)
    if len(weights) == 1:
        model.version_labels[label] = next(iter(weights))
        return
    split = model.label_splits.add(label=label)
    for version, weight in weights.items():
        split.versions.add(version=version, weight=weight)


def remove_label(model: Any, label: str) -> None:
    """Raises ServingError (NOT_FOUND) when there is none."""
    if not _drop_label(model, label):
        raise ServingError(Code.NOT_FOUND, f"model {model.name} has no label {label}")


def set_shadow(model: Any, version: int, rate: float) -> None:
    """Give the version copies of this share of the requests; of none when it is 0."""
    _drop_shadow(model, version)
    if rate:
        model.shadows.add(version=version, sampling_rate=rate)


def _aspired(model: Any, held: Collection[int]) -> set[int]:
    return {*held, *model.model_version_policy.specific.versions}


def _serve(model: Any, versions: Collection[int]) -> None:
    model.model_version_policy.Clear()
    model.model_version_policy.specific.versions.extend(sorted(versions))


def _labels_of(model: Any, version: int) -> list[str]:
    plain = [label for label, pointed in model.version_labels.items() if pointed == version]
    return plain + [split.label for split in model.label_splits if any(v.version == version for v in split.versions)]


def _drop_label(model: Any, label: str) -> bool:
    found = label in model.version_labels
    if found:
        del model.version_labels[label]
    for split in [split for split in model.label_splits if split.label == label]:
        model.label_splits.remove(split)
        found = True
    return found


def _drop_shadow(model: Any, version: int) -> None:
    for shadow in [shadow for shadow in model.shadows if shadow.version == version]:
        model.shadows.remove(shadow)


def _plain(path: str) -> str:
    return path.rstrip("/")
