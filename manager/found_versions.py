"""One look at a model's base path."""

from __future__ import annotations

import os
from dataclasses import dataclass

from manager import storage
from manager.model_config import ModelConfig
from manager.version_policy import Child, SpecificPolicy, ignored, parse_versions
from ringserve.errors import Code, ServingError


@dataclass(frozen=True, slots=True)
class FoundVersions:
    """The versions to serve, each with its folder's path or URI, in the policy's order; and what a person should know."""

    versions: list[Child]
    warnings: list[str]
    trouble: ServingError | None
    """Why there is no version."""


def find_versions(config: ModelConfig) -> FoundVersions:
    """Blocks. Raises ServingError when the base path can't be listed."""
    policy = config.policy
    specific = policy if isinstance(policy, SpecificPolicy) else None
    if specific and not specific.versions:
        trouble = ServingError(Code.NOT_FOUND, f"No specific versions requested for servable {config.name}.")
        return FoundVersions([], [], trouble)
    if specific and (versions := _without_listing(config.base_path, specific)):
        return FoundVersions(versions, [], None)
    try:
        found = parse_versions(storage.children(config.base_path))
    except ServingError as error:
        text = f"Could not find base path {config.base_path} for servable {config.name} with error {error}"
        raise ServingError(error.code, text) from error
    chosen = policy(found)
    warnings = [
        f"Duplicate version directories detected. Version {version} will be loaded from {name}, {other} will be ignored."
        for (version, name), other in ignored(found, chosen)
    ]
    if specific:
        warnings += [
            f"Version {version} of servable {config.name}, which was requested to be served as a 'specific' version in the "
            "servable's version policy, was not found in the file system"
            for version in specific.missing(chosen)
        ]
    versions = [(version, storage.child_path(config.base_path, name)) for version, name in chosen]
    return FoundVersions(versions, warnings, None if versions else _no_version(config))


def _without_listing(base: str, policy: SpecificPolicy) -> list[Child]:
    """All versions asked for, as ordered in the configuration, if all are there under their plain names; else none.

    Upstream's rule. Of a remote base path a listing costs no more than one such question.
    """
    if storage.is_remote(base):
        return []
    versions = [(version, storage.child_path(base, str(version))) for version in dict.fromkeys(policy.versions)]
    return versions if all(os.path.exists(path) for _, path in versions) else []


def _no_version(config: ModelConfig) -> ServingError:
    text = f"No versions of servable {config.name} found under base path {config.base_path}. "
    text += "Did you forget to name your leaf directory as a number (eg. '/1/')?"
    return ServingError(Code.NOT_FOUND, text)
