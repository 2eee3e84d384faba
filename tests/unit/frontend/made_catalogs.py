"""Catalogs for tests, in a few words."""

from __future__ import annotations

from frontend.catalog import Catalog, Version, VersionStatus
from ringserve.errors import Code
from ringserve.servable import ServableId, State
from ringserve.signature import Signature


def load(catalog: Catalog, name: str, number: int, *signatures: Signature) -> Version:
    """A version that requests find, and its status."""
    message = {"metadata": {}, "signatures": [signature.to_wire() for signature in signatures]}
    version = Version(ServableId(name, number), message, lambda _: None)
    catalog.add(version)
    report(catalog, name, number, State.AVAILABLE)
    return version


def report(catalog: Catalog, name: str, number: int, state: State, code: Code = Code.OK, message: str = "") -> None:
    catalog.set_status(name, VersionStatus(number, state, code, message))


def end(catalog: Catalog, name: str, number: int, code: Code = Code.OK, message: str = "") -> None:
    """Requests find the version no more."""
    catalog.retire(ServableId(name, number))
    report(catalog, name, number, State.END, code, message)
