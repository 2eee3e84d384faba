"""The Python clients over every protocol: the same questions, the same answers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from end_to_end.conftest import DATA, write_config
from end_to_end.running_server import RunningServer
from end_to_end.waiting import wait_until
from ringserve import AsyncClient, Client, Code, ServingError
from ringserve.servable import State

LIMIT = 30
PROTOCOLS = ("grpc", "http", "zmq", "shm")
NAMES = ["examples", "fails_on_negative", "half", "identity", "text"]


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    served = {name: models / name for name in NAMES if name != "half"} | {"half": DATA / "saved_model_half_plus_two_cpu"}
    flag = write_config(tmp_path_factory.mktemp("config") / "models.config", served)
    with RunningServer(flag, grpc=True, zmq=True, shm=True) as running:
        yield running


@pytest.fixture(params=PROTOCOLS)
def url(request: pytest.FixtureRequest, server: RunningServer) -> str:
    return {
        "grpc": f"grpc://127.0.0.1:{server.grpc_port}",
        "http": f"http://127.0.0.1:{server.port}",
        "zmq": server.zmq_url,
        "shm": f"shm://{server.shm_socket}",
    }[str(request.param)]


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url, timeout=LIMIT) as client:
        yield client


def halves(*values: float) -> dict[str, Any]:
    return {"x": np.array(values, np.float32)}


def test_predictions(client: Client) -> None:
    answer = client.predict("half", halves(1, 2, 5))
    assert answer["y"].tolist() == [2.5, 3.0, 4.5]
    assert (answer.model, answer.version, answer.signature) == ("half", 123, "serving_default")
    answer["y"] += 1
    assert client.predict("half", [1, 2])["y"].tolist() == [2.5, 3.0]
    assert client.submit("half", {"x": [4.0]}, version=123, outputs=["y"]).result(LIMIT)["y"].tolist() == [4.0]


def test_large_arrays_and_strings(client: Client) -> None:
    x = np.arange(2_000_000, dtype=np.float32).reshape(1000, -1)
    flat = x.ravel()
    np.testing.assert_array_equal(client.predict("half", {"x": flat})["y"], flat * np.float32(0.5) + 2)
    metadata = client.metadata("text").signatures["serving_default"]
    [alias] = [spec.alias for spec in metadata.inputs if spec.dtype.name == "string"]
    answer = client.predict("text", {alias: ["one", b"two\0\xff"]})
    assert all(array.dtype == object for array in answer.values() if array.dtype.hasobject)


def test_what_the_server_says(client: Client) -> None:
    for call in (client.predict, lambda *words: client.submit(*words).result(LIMIT), client.predict_each):
        with pytest.raises(ServingError) as caught:
            call("nothing", halves(1))
        assert caught.value.code is Code.NOT_FOUND
        assert caught.value.message.startswith("Servable not found for request: Latest(nothing)")
    with pytest.raises(ServingError) as caught:
        client.predict("half", {"x": np.array([1.0])})
    assert caught.value.code is Code.INVALID_ARGUMENT


def test_requests_of_a_row_each(client: Client) -> None:
    found = client.predict_each("half", halves(*range(500)))
    np.testing.assert_array_equal(found["y"], np.arange(500) / 2 + 2)
    assert (found.errors, found.version) == ({}, 123)
    signature = client.metadata("fails_on_negative").signatures["serving_default"]
    found = client.predict_each("fails_on_negative", {signature.inputs[0].alias: np.array([1, -1, 2], np.float32)})
    assert list(found.errors) == [1]
    assert all(len(array) == 3 for array in found.values())
    assert client.submit_each("half", halves(1, 2)).result(LIMIT)["y"].tolist() == [2.5, 3.0]


def test_examples(client: Client) -> None:
    [one, two] = client.classify("half", [{"x": 2.0}, {"x": [3.0]}], signature="classify_x_to_y")
    assert ([found.score for found in one], [found.score for found in two]) == ([3.0], [3.5])
    assert client.regress("half", [{}, {"x": 4.0}], context={"x": 2.0}, signature="regress_x_to_y") == [3.0, 4.0]


def test_facts(client: Client) -> None:
    assert client.models() == NAMES
    assert client.is_ready()
    assert client.is_ready("half")
    assert not client.is_ready("nothing")
    [state] = client.status("half")
    assert (state.version, state.state, state.code) == (123, State.AVAILABLE, Code.OK)
    metadata = client.metadata("half")
    assert (metadata.model, metadata.version) == ("half", 123)
    [x] = metadata.signatures["serving_default"].inputs
    assert (x.alias, x.dtype.name) == ("x", "float")
    with pytest.raises(ServingError) as caught:
        client.status("nothing")
    assert caught.value.code is Code.NOT_FOUND


def test_a_stream(client: Client) -> None:
    with client.stream(most_outstanding=64) as stream:
        futures = [stream.submit("half", halves(number)) for number in range(1000)]
        bad = stream.submit("nothing", halves(1))
    assert [float(future.result()["y"][0]) for future in futures] == [number / 2 + 2 for number in range(1000)]
    error = bad.exception(LIMIT)
    assert isinstance(error, ServingError)
    assert error.code is Code.NOT_FOUND


def test_a_slot(client: Client) -> None:
    signature = client.metadata("half").signatures["serving_default"]
    if signature.inputs[0].row is None:
        pytest.skip("no rows of a fixed form")
    with client.slot("half", 3) as slot:
        for first in (1, 5):
            slot.inputs["x"][:] = np.array([first, 2, 3], np.float32).reshape(slot.inputs["x"].shape)
            slot.run()
            assert slot.outputs["y"].ravel().tolist() == [first / 2 + 2, 3.0, 3.5]


def test_threads_share_a_client(client: Client) -> None:
    def ask(number: int) -> bool:
        return bool(client.predict("half", halves(number))["y"].tolist() == [number / 2 + 2])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(400)))


def test_children_of_a_fork(client: Client) -> None:
    def works() -> bool:
        return all(client.predict("half", halves(number))["y"].tolist() == [number / 2 + 2] for number in range(5))

    assert works()
    child = os.fork()
    if not child:
        try:
            os._exit(0 if works() else 3)
        finally:
            os._exit(4)
    status: list[int] = []

    def ended() -> bool:
        found, code = os.waitpid(child, os.WNOHANG)
        status.append(code)
        return bool(found)

    try:
        wait_until(ended, LIMIT, "the child's end")
    except BaseException:
        os.kill(child, 9)
        os.waitpid(child, 0)
        raise
    assert status[-1] == 0
    assert works()


def test_no_time_and_no_more_calls(client: Client) -> None:
    with pytest.raises(ServingError, match="No answer within 0 s") as caught:
        client.predict("half", halves(1), timeout=0)
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    client.close()
    with pytest.raises(ServingError, match="The client is closed"):
        client.predict("half", halves(1))


def test_asyncio(url: str) -> None:
    async def ask() -> None:
        async with AsyncClient(url, timeout=LIMIT) as client:
            answers = await asyncio.gather(*(client.predict("half", halves(number)) for number in range(300)))
            assert [answer["y"].tolist() for answer in answers] == [[number / 2 + 2] for number in range(300)]
            assert (await client.predict("half", [1]))["y"].tolist() == [2.5]
            assert (await client.predict_each("half", halves(1, 2)))["y"].tolist() == [2.5, 3.0]
            assert await client.models() == NAMES
            assert await client.is_ready()
            with pytest.raises(ServingError):
                await client.predict("nothing", halves(1))

    for _ in range(2):
        asyncio.run(ask())
