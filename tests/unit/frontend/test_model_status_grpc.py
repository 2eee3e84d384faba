"""GetModelStatus, through the messages that clients have."""

from __future__ import annotations

import pytest
from made_catalogs import end, load, report

from frontend.catalog import Catalog
from frontend.grpc.model_status import get_model_status
from ringserve.errors import Code, ServingError
from ringserve.protos import message_module
from ringserve.servable import State

MESSAGES = message_module("tensorflow_serving.apis.get_model_status_pb2")


def request(name: str, version: int | None = None, label: str | None = None) -> bytes:
    message = MESSAGES.GetModelStatusRequest()
    message.model_spec.name = name
    if version is not None:
        message.model_spec.version.value = version
    if label is not None:
        message.model_spec.version_label = label
    data: bytes = message.SerializeToString()
    return data


@pytest.fixture
def catalog() -> Catalog:
    made = Catalog()
    for version in (2, 11, 1):
        load(made, "m", version)
    end(made, "m", 1)
    end(made, "m", 2, Code.RESOURCE_EXHAUSTED, "no room: é")
    report(made, "m", 0, State.UNLOADING)
    report(made, "loading", 7, State.LOADING)
    return made


def entries(data: bytes, catalog: Catalog) -> list[tuple[int, str, int, str]]:
    response = MESSAGES.GetModelStatusResponse.FromString(get_model_status(data, catalog))
    assert all(entry.HasField("status") for entry in response.model_version_status)
    state_name = MESSAGES.ModelVersionStatus.State.Name
    return [
        (entry.version, state_name(entry.state), entry.status.error_code, entry.status.error_message)
        for entry in response.model_version_status
    ]


ALL = [
    (11, "AVAILABLE", 0, ""),
    (2, "END", 8, "no room: é"),
    (1, "END", 0, ""),
    (0, "UNLOADING", 0, ""),
]


def test_every_version_that_was_there_the_highest_first(catalog: Catalog) -> None:
    assert entries(request("m"), catalog) == ALL
    assert entries(request("loading"), catalog) == [(7, "LOADING", 0, "")]


def test_a_label_means_nothing(catalog: Catalog) -> None:
    catalog.set_labels("m", {"stable": [(11, 1.0)]})
    assert entries(request("m", label="stable"), catalog) == ALL
    assert entries(request("m", label="no such label"), catalog) == ALL


@pytest.mark.parametrize("version", [11, 2, 0])
def test_one_version(catalog: Catalog, version: int) -> None:
    """An empty wrapper asks for version 0."""
    assert entries(request("m", version), catalog) == [entry for entry in ALL if entry[0] == version]


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("code", [Code.OK, Code.INTERNAL, Code.UNAUTHENTICATED])
def test_states_and_codes_have_upstreams_numbers(state: State, code: Code) -> None:
    made = Catalog()
    report(made, "m", 1, state, code)
    assert entries(request("m"), made) == [(1, state.name, code.value, "")]


@pytest.mark.parametrize(
    ("data", "code", "text"),
    [
        (b"", Code.INVALID_ARGUMENT, "Missing ModelSpec"),
        (request("m", 3), Code.NOT_FOUND, "Could not find version 3 of model m"),
        (request("m", -1), Code.NOT_FOUND, "Could not find version -1 of model m"),
        (request("n", 0), Code.NOT_FOUND, "Could not find version 0 of model n"),
        (request("n"), Code.NOT_FOUND, "Could not find any versions of model n"),
        (request("n", label="x"), Code.NOT_FOUND, "Could not find any versions of model n"),
        (request(""), Code.NOT_FOUND, "Could not find any versions of model "),
        (request("", 1), Code.NOT_FOUND, "Could not find version 1 of model "),
    ],
)
def test_what_is_refused(catalog: Catalog, data: bytes, code: Code, text: str) -> None:
    with pytest.raises(ServingError) as caught:
        get_model_status(data, catalog)
    assert (caught.value.code, caught.value.message) == (code, text)


@pytest.mark.parametrize("data", [b"\x0a", b"\x0a\x05ab", b"\xff\xff\xff", b"\x0a\x03\x0a\x01\xff"])
def test_bytes_that_are_no_request(catalog: Catalog, data: bytes) -> None:
    with pytest.raises(ServingError, match="The request is no GetModelStatusRequest: ") as caught:
        get_model_status(data, catalog)
    assert caught.value.code is Code.INVALID_ARGUMENT


def test_a_request_that_is_too_long_is_not_parsed(catalog: Catalog) -> None:
    with pytest.raises(ServingError) as caught:
        get_model_status(b"\xff" * ((1 << 20) + 1), catalog)
    expected = "Received message larger than max (1048577 vs. 1048576)"
    assert (caught.value.code, caught.value.message) == (Code.RESOURCE_EXHAUSTED, expected)
