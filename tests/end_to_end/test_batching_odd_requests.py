"""What upstream's batching has no test for: requests without rows, of other ranks, gone or late, and odd outputs."""

from __future__ import annotations

import gc
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from end_to_end import gated_folder, process_facts
from end_to_end.batched_models import FLAGS, NEVER, BatchCount, Batches, batched, most, sizes, split
from end_to_end.client_urls import PROTOCOLS, client_url
from end_to_end.model_config_file import ModelConfigFile
from end_to_end.recorded_runs import RecordedRuns, recorded
from end_to_end.running_server import RunningServer
from end_to_end.waiting import wait_until
from end_to_end.zmq_client import ZmqClient, predicting
from ringserve import Client, Code, ServingError
from shm.layout import ABANDONED

LIMIT = 20
PAD = "pad_variable_length_inputs: true"
SOON = "batch_timeout_micros { value: 300000 }"

MODELS = {
    "halves": ("half_plus_two", most(2)),
    "pads": ("half_plus_two", most(2, f"{NEVER} {PAD}")),
    "sized": ("half_plus_two", sizes(1, 3)),
    "cut": ("half_plus_two", split(2, of=8, more=SOON)),
    "scalar": ("scalar", most(4)),
    "no_inputs": ("no_inputs", most(4)),
    "fixed_batch": ("fixed_batch", most(4)),
    "sums": ("not_batch_major", most(4)),
    "uniques": ("data_dependent", most(4)),
    "cut_uniques": ("data_dependent", split(2, of=8, more=SOON)),
    "partly_scalar": ("unwritable", most(4)),
}
RECORDED = {"recorded": most(2), "padded": most(2, f"{NEVER} {PAD}"), "sized_texts": sizes(1, 3)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("odd")


@pytest.fixture(scope="module")
def server(models: Path, folder: Path) -> Iterator[RunningServer]:
    entries = [batched(name, models / model, folder / name, text) for name, (model, text) in MODELS.items()]
    entries += [recorded(name, folder / name, text) for name, text in RECORDED.items()]
    config = ModelConfigFile(folder / "models.config").write(*entries)
    with RunningServer(config, *FLAGS, grpc=True, zmq=True, shm=True, environment=gated_folder.ENVIRONMENT) as running:
        yield running


@pytest.fixture(params=PROTOCOLS)
def client(request: pytest.FixtureRequest, server: RunningServer) -> Iterator[Client]:
    with Client(client_url(server, request.param), timeout=LIMIT) as client:
        yield client
    gc.collect()  # errors that were caught have a lane in their frames: with them it stays


@pytest.fixture(params=PROTOCOLS[:3])
def remote(request: pytest.FixtureRequest, server: RunningServer) -> Iterator[Client]:
    """Local clients' requests are merged where they have columns only."""
    with Client(client_url(server, request.param), timeout=LIMIT) as client:
        yield client


@pytest.fixture
def runs(server: RunningServer, folder: Path) -> RecordedRuns:
    return RecordedRuns(folder / "recorded")


def floats(*values: float) -> dict[str, Any]:
    return {"x": np.array(values, np.float32)}


def halves(array: Any) -> Any:
    return array / np.float32(2) + np.float32(2)


def refused(client: Client, code: Code, text: str, *words: Any, **more: Any) -> None:
    with pytest.raises(ServingError) as caught:
        client.predict(*words, **more)
    assert (caught.value.code, caught.value.message) == (code, text)


def test_no_rows(client: Client) -> None:
    answer = client.predict("halves", floats())["y"]
    assert (answer.shape, str(answer.dtype)) == ((0,), "float32")


def test_no_rows_wait_for_nobody(remote: Client, runs: RecordedRuns) -> None:
    """And nobody is run for them. (A local client's answers come in the order of its requests.)"""
    waiting = remote.submit("recorded", floats(1))
    assert remote.predict("recorded", floats())["y"].tolist() == []
    assert runs.rows == [[]]
    assert not waiting.done()
    assert remote.predict("recorded", floats(3))["y"].tolist() == [3.5]
    assert waiting.result(LIMIT)["y"].tolist() == [2.5]
    assert len(runs.rows) == 2


def test_other_ranks_where_rows_are_padded(server: RunningServer, remote: Client) -> None:
    """Requests of one rank are batched, whatever comes between them."""
    count = BatchCount(server, "pads")
    flat, cubes, longer, taller = (np.ones(shape, "f4") for shape in ((1, 2), (1, 2, 2), (1, 3), (1, 3, 2)))
    first = remote.submit("pads", {"x": flat})
    second = remote.submit("pads", {"x": cubes})
    assert remote.predict("pads", {"x": longer})["y"].shape == (1, 3)
    assert first.result(LIMIT)["y"].shape == (1, 3)
    assert not second.done()
    assert remote.predict("pads", {"x": taller})["y"].shape == second.result(LIMIT)["y"].shape == (1, 3, 2)
    assert count.new(4).batches == 2


def test_ranks_that_can_not_be_padded(client: Client) -> None:
    text = "Only tensors with rank from 1 to 6 can be padded."
    refused(client, Code.INVALID_ARGUMENT, text, "pads", {"x": np.ones((1,) * 7, "f4")})


def test_another_type_spoils_no_batch(client: Client) -> None:
    waiting = client.submit("halves", floats(1))
    with pytest.raises(ServingError) as caught:
        client.predict("halves", {"x": np.ones(1)})
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert client.predict("halves", floats(3))["y"].tolist() == [3.5]
    assert waiting.result(LIMIT)["y"].tolist() == [2.5]


def test_not_a_number(server: RunningServer, client: Client) -> None:
    """Nor are the rows that fill up its batch; its neighbour's answer is."""
    count = BatchCount(server, "sized")
    one, two = client.submit("sized", floats(1)), client.submit("sized", floats(np.nan, np.inf))
    np.testing.assert_array_equal(two.result(LIMIT)["y"], np.array([np.nan, np.inf], "f4"))
    assert one.result(LIMIT)["y"].tolist() == [2.5]
    assert count.new(3).closed == {"full": 1}


def test_texts_are_padded(server: RunningServer, folder: Path, remote: Client) -> None:
    """Each with its own first text, as numbers are."""
    runs = RecordedRuns(folder / "padded")
    short, long = [["a", "ä\0b"]], [["c", "", "e"]]  # upper case of ASCII
    first = remote.submit("padded", {"x": short}, signature="text")
    second = remote.submit("padded", {"x": long}, signature="text")
    assert first.result(LIMIT)["y"].tolist() == [[b"A", "ä\0B".encode(), b"A"]]
    assert second.result(LIMIT)["y"].tolist() == [[b"C", b"", b"E"]]
    assert sorted(map(sorted, runs.rows)) == [sorted([["a", "ä\0b", "a"], *long])]


def test_texts_fill_batches_up(server: RunningServer, folder: Path) -> None:
    """With the first row of the last request, which nobody is given."""
    runs = RecordedRuns(folder / "sized_texts")
    with Client(server.zmq_url, timeout=LIMIT) as client:  # which keeps the order of requests
        first = client.submit("sized_texts", {"x": [["a"], ["b"]]}, signature="text")
        second = client.submit("sized_texts", {"x": [["c"], ["d"]]}, signature="text")  # closes the first one's batch
        assert first.result(LIMIT)["y"].tolist() == [[b"A"], [b"B"]]
        assert runs.rows == [[["a"], ["b"], ["a"]]]
        assert client.predict("sized_texts", {"x": [["e"]]}, signature="text")["y"].tolist() == [[b"E"]]
        assert second.result(LIMIT)["y"].tolist() == [[b"C"], [b"D"]]


def test_texts_of_a_local_client_are_not_filled_up(server: RunningServer) -> None:
    """How many rows they have is known when they have run."""
    worker = server.process("worker cpu:0")
    count = BatchCount(server, "sized_texts", "text")
    with Client(client_url(server, "shm"), timeout=LIMIT) as client:
        asked = [
            client.submit("sized_texts", {"x": [[f"w{row}"] for row in range(rows)]}, signature="text") for rows in (2, 3)
        ]
        assert [len(future.result(LIMIT)["y"]) for future in asked] == [2, 3]
    found = count.new(5)
    assert (found.batches, found.padding, found.closed) == (2, 0, {"alone": 2})
    assert server.process("worker cpu:0") == worker


def test_outputs_that_are_no_rows(client: Client) -> None:
    """Upstream fails them, with batching on. Here they are run one by one, and do not wait."""
    sums = [client.submit("sums", floats(number, 1)) for number in range(4)]
    assert [future.result(LIMIT)["y"].tolist() for future in sums] == [[1.0], [2.0], [3.0], [4.0]]
    for _ in range(3):
        uniques = [client.submit("uniques", {"x": np.array([n, n, 9], "i4")}) for n in range(4)]
        assert [future.result(LIMIT)["y"].tolist() for future in uniques] == [[n, 9] for n in range(4)]
    answer = client.predict("partly_scalar", floats(1, 2), signature="partly_scalar")
    assert (answer["sum"].shape, float(answer["sum"])) == ((), 3.0)
    assert answer["all"].tolist() == [1.0, 2.0]
    assert client.predict("fixed_batch", {"x": np.ones((2, 3), "f4")})["y"].tolist() == [[2.0] * 3] * 2


def test_outputs_that_are_no_rows_of_a_request_that_would_be_cut(client: Client) -> None:
    answer = client.predict("cut_uniques", {"x": np.array([7, 8, 7, 8, 7], "i4")})
    assert answer["y"].tolist() == [7, 8]
    assert client.predict("cut", floats(*range(7)))["y"].tolist() == halves(np.arange(7, dtype="f4")).tolist()


def test_inputs_that_are_no_rows(client: Client) -> None:
    text = "Batching Run() input tensors must have at least one dimension"
    refused(client, Code.INVALID_ARGUMENT, text, "scalar", {"x": np.float32(1)})
    refused(client, Code.INVALID_ARGUMENT, "Batching Run() must have at least one input tensor", "no_inputs", {})


def gone(server: RunningServer) -> int:
    """Requests whose clients have left, in all lanes."""
    lanes = process_facts.request_flags(server.process("worker cpu:0"))
    return sum(1 for flags in lanes.values() for flag in flags if flag & ABANDONED)


def leave_by_grpc(server: RunningServer, number: float) -> None:
    with Client(client_url(server, "grpc"), timeout=LIMIT) as client:
        future = client.submit("recorded", floats(number))
        wait_until(lambda: process_facts.requests_in_lanes(server.pid), LIMIT, "a request in a lane")
        assert future.cancel()


def leave_by_rest(server: RunningServer, number: float) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=LIMIT)
    connection.request("POST", "/v1/models/recorded:predict", json.dumps({"instances": [number]}))
    wait_until(lambda: process_facts.requests_in_lanes(server.pid), LIMIT, "a request in a lane")
    connection.close()


@pytest.mark.parametrize("leave", [leave_by_grpc, leave_by_rest])
def test_who_has_left_is_not_run(server: RunningServer, runs: RecordedRuns, leave: Any) -> None:
    wait_until(lambda: not process_facts.requests_in_lanes(server.pid), LIMIT, "the lanes empty")
    before, rejected = gone(server), Batches.of(server, "recorded").rejected["cancelled"]
    leave(server, -1.0)
    wait_until(lambda: gone(server) > before, LIMIT, "the worker told")
    ask_two(server)
    assert sorted(map(sorted, runs.rows)) == [[1.0, 2.0]]
    wait_until(lambda: Batches.of(server, "recorded").rejected["cancelled"] == rejected + 1, LIMIT, "it counted")


def test_who_is_late_is_not_run(server: RunningServer, runs: RecordedRuns) -> None:
    """Its neighbours, who have time, are."""
    rejected = Batches.of(server, "recorded").rejected["expired"]
    with ZmqClient(f"tcp://127.0.0.1:{server.zmq_port}") as client:
        message = predicting("recorded", {"x": np.array([-1], "f4")}, timeout_ms=200, id=1)
        client.send(message)
        answer, _ = client.receive(LIMIT)
    assert answer["code"] in (Code.RESOURCE_EXHAUSTED, Code.DEADLINE_EXCEEDED), answer
    ask_two(server)
    assert sorted(map(sorted, runs.rows)) == [[1.0, 2.0]]
    wait_until(lambda: Batches.of(server, "recorded").rejected["expired"] == rejected + 1, LIMIT, "it counted")


def ask_two(server: RunningServer) -> None:
    """They fill a batch."""
    with Client(client_url(server, "grpc"), timeout=LIMIT) as client:
        asked = [client.submit("recorded", floats(number)) for number in (1, 2)]
        assert [future.result(LIMIT)["y"].tolist() for future in asked] == [[2.5], [3.0]]
