"""The answers of the status and metadata routes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from frontend.catalog import Version, VersionStatus


def status_body(versions: Sequence[VersionStatus]) -> bytes:
    """As upstream's GetModelStatusResponse in JSON."""
    document = {"model_version_status": [status_entry(status) for status in versions]}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n"


def status_entry(status: VersionStatus) -> dict[str, Any]:
    """As upstream's ModelVersionStatus in JSON."""
    return {
        "version": str(status.version),
        "state": status.state.name,
        "status": {"error_code": status.code.name, "error_message": status.message},
    }


def metadata_body(version: Version) -> bytes:
    """As upstream's, with the doubled `signature_def`."""
    spec = {"name": version.id.name, "signature_name": "", "version": str(version.id.version)}
    document = {"model_spec": spec, "metadata": {"signature_def": {"signature_def": version.metadata}}}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n"
