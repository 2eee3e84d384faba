"""What a local client is promised, over a real server: the same answers and the same errors as over gRPC."""

from __future__ import annotations

import gc
import math
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from end_to_end.conftest import DATA
from end_to_end.model_config_file import ModelConfigFile, entry
from end_to_end.running_server import RunningServer
from end_to_end.scraped_metrics import clean, total
from end_to_end.waiting import wait_until
from ringserve import Client, Code, ServingError
from ringserve.client.answers import Metadata

LIMIT = 30
MODELS = ("half_plus_two_2d", "identity", "two_inputs", "text", "two_texts", "dynamic_image", "fails_on_negative", "slow",
          "scalar", "no_inputs", "fixed_batch", "batch_dependent", "not_batch_major", "data_dependent", "examples",
          "unwritable", "echo_big")  # fmt: skip
ALL = "model_version_policy { all {} }"
LABELS = 'version_labels { key: "stable" value: 1 } version_labels { key: "new" value: 2 }'
SPLIT = 'label_splits { label: "even" versions { version: 1 weight: 1 } versions { version: 2 weight: 1 } }'
MOST_BYTES = 64 << 20

Call = Callable[[Client], Any]


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    config = ModelConfigFile(tmp_path_factory.mktemp("local") / "models.config").write(
        *(entry(name, models / name) for name in MODELS),
        entry("half_plus_two", models / "half_plus_two", f"{ALL} {LABELS} {SPLIT}"),
        entry("default", DATA / "saved_model_half_plus_two_cpu"),
    )
    labels = "--allow_version_labels_for_unavailable_models"
    with RunningServer(config, labels, f"--max_request_bytes={MOST_BYTES}", grpc=True, shm=True) as running:
        yield running


@pytest.fixture(scope="module")
def local(server: RunningServer) -> Iterator[Client]:
    with Client(f"shm://{server.shm_socket}", timeout=LIMIT) as client:
        yield client
    gc.collect()  # slots' arrays, which errors that were caught have in their frames: with them their lane stays


@pytest.fixture(scope="module")
def grpc(server: RunningServer) -> Iterator[Client]:
    with Client(f"grpc://127.0.0.1:{server.grpc_port}", timeout=LIMIT) as client:
        yield client


def floats(*values: Any) -> np.ndarray[Any, Any]:
    return np.array(values, "<f4")


def plain(answer: Any) -> Any:
    """Something that can be compared, to the bit."""
    if isinstance(answer, Metadata):
        return answer.model, answer.version, sorted(answer.signatures.items())
    source = [answer.model, answer.version, answer.signature] if hasattr(answer, "source") else []
    if isinstance(answer, Mapping):
        arrays = {alias: (array.dtype.str, array.shape, array.tolist()) for alias, array in answer.items()}
        errors = {index: (error.code, error.message) for index, error in getattr(answer, "errors", {}).items()}
        return repr((source, arrays, errors))
    return repr((source, answer))


def came_of(call: Call, client: Client) -> tuple[Any, Any]:
    try:
        return "an answer", plain(call(client))
    except ServingError as error:
        return error.code, error.message
    except ValueError as error:
        return ValueError, str(error)


def predict(model: str, inputs: Any, **words: Any) -> Call:
    return lambda client: client.predict(model, inputs, **words)


def each(model: str, inputs: Any, **words: Any) -> Call:
    return lambda client: client.predict_each(model, inputs, **words)


X = floats(1, 2, 3)
ROWS = floats([1], [2], [5])
A, B = np.arange(30, dtype="<f4").reshape(10, 3), np.arange(10, dtype="<i4")
NUMPY = {
    "half": "<f2", "float": "<f4", "double": "<f8", "int8": "i1", "int16": "<i2", "int32": "<i4", "int64": "<i8",
    "uint8": "u1", "uint16": "<u2", "uint32": "<u4", "uint64": "<u8", "bool": "?", "complex64": "<c8", "complex128": "<c16",
}  # fmt: skip

GOOD: dict[str, Call] = {
    "rows as declared": predict("half_plus_two_2d", {"x": ROWS}),
    "one array": predict("half_plus_two_2d", ROWS),
    "numbers": predict("half_plus_two_2d", [[1], [2]]),
    "another rank": predict("half_plus_two_2d", {"x": X}),
    "a higher rank": predict("half_plus_two_2d", {"x": floats([[1, 2], [3, 4]])}),
    "a scalar where rows are declared": predict("half_plus_two_2d", {"x": np.float32(4)}),
    "no rows": predict("half_plus_two_2d", {"x": np.zeros((0, 1), "<f4")}),
    "no elements": predict("half_plus_two_2d", {"x": np.zeros((3, 0), "<f4")}),
    "wide without elements": predict("half_plus_two_2d", {"x": np.zeros((0, 1 << 20), "<f4")}),
    "many rows": predict("half_plus_two_2d", {"x": np.arange(20_000, dtype="<f4").reshape(-1, 1)}),
    "not contiguous": predict("half_plus_two_2d", {"x": np.arange(20, dtype="<f4").reshape(4, 5)[::2, ::4]}),
    "big-endian": predict("half_plus_two_2d", {"x": ROWS.astype(">f4")}),
    "a version": predict("half_plus_two", {"x": X}, version=1),
    "a label": predict("half_plus_two", {"x": X}, label="stable"),
    "another label": predict("half_plus_two", {"x": X}, label="new"),
    "a key": predict("half_plus_two", {"x": X}, label="even", key="me"),
    "another key": predict("half_plus_two", {"x": X}, label="even", key="you 3"),
    "a signature": predict("identity", {"x": np.ones((2, 2), "<i8")}, signature="int64"),
    "several inputs and outputs": predict("two_inputs", {"a": A, "b": B}),
    "some outputs": predict("two_inputs", {"b": B, "a": A}, outputs=["count"]),
    "outputs in another order": predict("two_inputs", {"b": B, "a": A}, outputs=["sum", "count"]),
    "rows that are broadcast": predict("two_inputs", {"a": A[:1], "b": B}),
    "strings": predict("text", {"x": ["one", b"two\0", "", "dr\u00ef"]}),
    "a string": predict("text", {"x": [b"x" * 100_000]}),
    "many strings": predict("text", {"x": [b"%d" % number for number in range(5000)]}),
    "no strings": predict("text", {"x": np.zeros((0,), object)}),
    "a square of strings": predict("text", {"x": np.array([[b"a", b"bc"], [b"", b"d"]], object)}),
    "two texts": predict("two_texts", {"a": [b"a", b"b"], "b": [b"", b"c"]}),
    "a scalar": predict("scalar", {"x": np.float32(3)}),
    "a scalar model with rows": predict("scalar", {"x": X}),
    "no inputs": predict("no_inputs", {}),
    "fixed rows": predict("fixed_batch", {"x": floats([1, 2, 3], [4, 5, 6])}),
    "measured against the mean": predict("batch_dependent", {"x": floats(1, 2, 9)}),
    "fewer rows": predict("not_batch_major", {"x": X}),
    "fewer rows by value": predict("data_dependent", {"x": np.array([3, 3, 1], "<i4")}),
    "rows of no fixed form": predict("dynamic_image", {"x": np.ones((2, 5, 7, 3), "<f4")}),
    "a scalar among the outputs": predict("unwritable", {"x": X}, signature="partly_scalar"),
    "uneven outputs": predict("unwritable", {"x": X}, signature="uneven"),
    "bfloat16 out": predict("unwritable", {"x": X}, signature="bfloat16"),
    "not a number": predict("identity", {"x": floats([np.nan, np.inf], [-np.inf, -0.0])}),
    **{name: predict("identity", {"x": np.array([[0, 1], [1, 1]], numpy)}, signature=name) for name, numpy in NUMPY.items()},
    **{f"{name} of one rank": predict("identity", {"x": np.array([0, 1, 1], numpy)}, signature=name)
       for name, numpy in NUMPY.items()},
    "strings as declared": predict("identity", {"x": [[b"a", b"b"]]}, signature="string"),
    "each": each("half_plus_two_2d", {"x": np.arange(5000, dtype="<f4").reshape(-1, 1)}),
    "each of another form": each("half_plus_two_2d", {"x": np.arange(50, dtype="<f4")}),
    "each of two": each("two_inputs", {"a": A, "b": B}),
    "each with one output": each("two_inputs", {"a": A, "b": B}, outputs=["count"]),
    "each against its own mean": each("batch_dependent", {"x": X}),
    "each of which some fail": each("fails_on_negative", {"x": floats(1, -1, 4, -4, 9)}),
    "each of a version": each("half_plus_two", {"x": X}, version=1),
    "each of images": each("dynamic_image", {"x": np.ones((3, 5, 7, 3), "<f4")}),
    "each of bools": each("identity", {"x": np.array([[True, False]] * 3)}, signature="bool"),
    "classify": lambda client: client.classify("default", [{"x": 2.0}, {"x": 3.0}], signature="classify_x_to_y"),
    "classes": lambda client: client.classify("examples", [{"x": 0.5}, {"x": 0.25, "who": "me"}]),
    "regress": lambda client: client.regress("default", [{"x": 2.0}, {}], context={"x": 8.0}, signature="regress_x_to_y"),
    "values": lambda client: client.regress("examples", [{"x": 0.5}] * 100, signature="value"),
    "status": lambda client: client.status("half_plus_two"),
    "status of a version": lambda client: client.status("half_plus_two", 1),
    "metadata": lambda client: client.metadata("two_inputs"),
    "metadata by label": lambda client: client.metadata("half_plus_two", label="stable"),
    "models": lambda client: client.models(),
    "ready": lambda client: [client.is_ready(), client.is_ready("text"), client.is_ready("none")],
}  # fmt: skip

BAD: dict[str, Call] = {
    "no such model": predict("none", {"x": X}),
    "no such version": predict("half_plus_two", {"x": X}, version=7),
    "no such label": predict("half_plus_two", {"x": X}, label="none"),
    "no such signature": predict("half_plus_two", {"x": X}, signature="none"),
    "no such input": predict("half_plus_two_2d", {"z": X}),
    "no inputs": predict("half_plus_two_2d", {}),
    "one input too many": predict("half_plus_two_2d", {"x": X, "z": X}),
    "another type": predict("half_plus_two_2d", {"x": np.array([[1]], "<i8")}),
    "text for numbers": predict("half_plus_two_2d", {"x": [b"text"]}),
    "numbers for text": predict("text", {"x": X}),
    "one input too few": predict("two_inputs", {"a": A}),
    "one type of two": predict("two_inputs", {"a": A, "b": A}),
    "rows that do not go together": predict("two_inputs", {"a": A, "b": B[:4]}),
    "a shape that goes with nothing": predict("two_inputs", {"a": A, "b": B[:, None, None].repeat(7, 2)}),
    "a shape that does not fit": predict("dynamic_image", {"x": X}),
    "what the model refuses": predict("fails_on_negative", {"x": floats(-1)}),
    "no such output": predict("two_inputs", {"a": A, "b": B}, outputs=["none"]),
    "an output twice": predict("two_inputs", {"a": A, "b": B}, outputs=["sum", "sum"]),
    "an input's name for an output": predict("two_inputs", {"a": A, "b": B}, outputs=["a"]),
    "each of no such model": each("none", {"x": X}),
    "each of another type": each("half_plus_two_2d", {"x": np.array([[1]], "<i8")}),
    "each of no such input": each("half_plus_two_2d", {"z": X}),
    "each of no such signature": each("half_plus_two", {"x": X}, signature="none"),
    "each of which no shape fits": each("dynamic_image", {"x": floats([1, 2], [3, 4])}),
    "no examples": lambda client: client.classify("default", [], signature="classify_x_to_y"),
    "no example": lambda client: client.classify("default", [b"\xff\xff"], signature="classify_x_to_y"),
    "examples without the feature": lambda client: client.regress("examples", [{}], signature="value"),
    "not for examples": lambda client: client.regress("half_plus_two", [{"x": 1.0}]),
    "not for classes": lambda client: client.classify("default", [{"x": 1.0}], signature="regress_x_to_y"),
    "no classes": lambda client: client.classify("examples", [{"x": 1.0}], signature="three"),
    "no value": lambda client: client.regress("examples", [{"x": 1.0}], signature="wide_value"),
    "classes of no such model": lambda client: client.classify("none", [{"x": 1.0}]),
    "classes of no such signature": lambda client: client.classify("examples", [{"x": 1.0}], signature="none"),
    "status of no such model": lambda client: client.status("none"),
    "status of no such version": lambda client: client.status("half_plus_two", 9),
    "metadata of no such model": lambda client: client.metadata("none"),
    "metadata of no such label": lambda client: client.metadata("half_plus_two", label="none"),
}  # fmt: skip


@pytest.mark.parametrize("kind", GOOD)
def test_the_same_answers_as_over_grpc(local: Client, grpc: Client, kind: str) -> None:
    """More than once: what comes often goes another way."""
    right = came_of(GOOD[kind], grpc)
    assert right[0] == "an answer", right
    for _ in range(12):
        assert came_of(GOOD[kind], local) == right


@pytest.mark.parametrize("kind", BAD)
def test_the_same_errors_as_over_grpc(local: Client, grpc: Client, kind: str) -> None:
    right = came_of(BAD[kind], grpc)
    assert right[0] != "an answer", right
    for _ in range(2):
        assert came_of(BAD[kind], local) == right


def test_errors_of_calls_that_are_started(local: Client) -> None:
    """As those of calls that are waited for."""
    for future, code in (
        (local.submit("half_plus_two", {"x": X}, signature="none"), Code.FAILED_PRECONDITION),
        (local.submit("none", {"x": X}), Code.NOT_FOUND),
        (local.submit("half_plus_two_2d", {"z": X}), Code.INVALID_ARGUMENT),
        (local.submit_each("half_plus_two_2d", {"z": X}), Code.INVALID_ARGUMENT),
    ):
        error = future.exception(LIMIT)
        assert isinstance(error, ServingError)
        assert error.code is code


def test_forms_that_come_often_have_columns(server: RunningServer, local: Client) -> None:
    """They are answered the same before, while and after their lane is opened."""
    for width in range(2, 14):  # more than there are lanes for
        for number in range(12):
            x = np.full((2, width), number, "<f4")
            np.testing.assert_array_equal(local.predict("half_plus_two_2d", {"x": x})["y"], x / 2 + 2)


def test_a_slot(local: Client) -> None:
    with local.slot("two_inputs", 2) as slot:
        for factor in (1, 7):
            slot.inputs["a"][:] = A[:2] * factor
            slot.inputs["b"][:] = [factor, 2]
            slot.run(LIMIT)
            assert slot.outputs["sum"].tolist() == (A[:2] * factor + floats([factor], [2])).tolist()
            assert slot.outputs["count"].tolist() == [factor, 2]
    with local.slot("fails_on_negative", 3) as slot:
        slot.inputs["x"][:] = [4, -1, 9]
        with pytest.raises(ServingError, match="negative input"):
            slot.run()
        slot.inputs["x"][1] = 1
        slot.run()
        assert slot.outputs["y"].tolist() == [2, 1, 3]
    with local.slot("half_plus_two", 1, version=1) as one, local.slot("half_plus_two", 1, label="new") as two:
        for slot in (one, two):
            slot.inputs["x"][:] = 2
            slot.run()
        assert (one.outputs["y"].tolist(), two.outputs["y"].tolist()) == ([3], [4])
    with local.slot("identity", 2, signature="bool") as slot:
        slot.inputs["x"].view(np.uint8)[:] = [[0, 1], [2, 255]]  # which no bool is
        slot.run()
        assert slot.outputs["y"].view(np.uint8).tolist() == [[0, 1], [1, 1]]
    with local.slot("text", 2) as slot:
        slot.inputs["x"][:] = [b"a", b"bc"]
        slot.run()
        assert slot.outputs["upper"].tolist() == [b"A", b"BC"]
    for model, code in (("dynamic_image", Code.FAILED_PRECONDITION), ("none", Code.NOT_FOUND)):
        with pytest.raises(ServingError) as caught:
            local.slot(model, 1)
        assert caught.value.code is code


def test_time_limits(local: Client) -> None:
    local.predict("slow", {"x": floats(1)})
    with pytest.raises(ServingError) as caught:
        local.predict("slow", {"x": floats(1)}, timeout=0.02)
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    with pytest.raises(ServingError) as caught:
        local.predict_each("slow", {"x": floats(1, 2, 3)}, timeout=0.02)
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    late = local.submit("slow", {"x": floats(1)}, timeout=0.02)
    soon = local.submit("half_plus_two", {"x": floats(1)}, version=1, timeout=LIMIT)
    patient = local.submit("slow", {"x": floats(1, 2)}, timeout=math.inf)
    assert isinstance(late.exception(LIMIT), ServingError)
    assert soon.result(LIMIT)["y"].tolist() == [2.5]
    assert patient.result(LIMIT)["y"].tolist() == [1, 2]
    cancelled = local.submit("slow", {"x": floats(1)})
    assert cancelled.cancel()
    assert local.predict("slow", {"x": floats(3)})["y"].tolist() == [3]


def test_large_requests(local: Client) -> None:
    image = np.arange(1024 * 1024 * 3, dtype="<f4").reshape(1, 1024, 1024, 3)
    for count in (1, 2, 1):
        images = np.repeat(image, count, axis=0)
        np.testing.assert_array_equal(local.predict("echo_big", {"image": images})["y"], images * 2)
    flat = np.arange(4 << 20, dtype="<f4")
    np.testing.assert_array_equal(local.predict("half_plus_two_2d", {"x": flat})["y"], flat / 2 + 2)


def test_too_large(local: Client) -> None:
    """Nothing of it is sent, and what comes behind it is as good as ever."""
    for inputs in ({"x": np.zeros((MOST_BYTES // 4 + 100, 1, 1), "<f4")}, {"x": np.zeros((0, 1 << 40), "<f4")}):
        with pytest.raises(ServingError) as caught:
            local.predict("half_plus_two_2d", inputs)
        assert caught.value.code is Code.RESOURCE_EXHAUSTED, caught.value
    assert local.predict("half_plus_two_2d", {"x": ROWS})["y"].tolist() == [[2.5], [3], [4.5]]


def test_what_is_counted(server: RunningServer, local: Client) -> None:
    def counted(**labels: str) -> float:
        return total(
            clean(server), "ringserve_requests_total", entrypoint="SHM", api="predict", model="two_inputs", **labels
        )

    before, failed = counted(code="OK"), counted(code="INVALID_ARGUMENT")
    for _ in range(7):
        local.predict("two_inputs", {"a": A, "b": B})
    local.predict_each("two_inputs", {"a": A, "b": B})
    with pytest.raises(ServingError):
        local.predict("two_inputs", {"a": A, "b": B[:4]})
    wait_until(lambda: counted(code="OK") == before + 17, 5, lambda: f"17 more than {before}, {counted(code='OK')}")
    assert counted(code="INVALID_ARGUMENT") == failed + 1


def test_what_a_client_that_is_closed_leaves(server: RunningServer) -> None:
    """Nothing, and at once: its memory does not wait for Python's collector."""

    def lanes() -> int:
        return sum("memfd:ringserve" in line for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines())

    gc.collect()
    before = lanes()
    gc.disable()
    try:
        with Client(f"shm://{server.shm_socket}", timeout=LIMIT) as client:
            for _ in range(20):
                client.predict("half_plus_two_2d", {"x": ROWS})
            client.submit("text", {"x": [b"a"]}).result()
            with client.slot("two_inputs", 2) as slot:
                slot.run()
            del slot
            assert lanes() > before
        wait_until(lambda: lanes() == before, 5, lambda: f"{before} lanes, not {lanes()}")
    finally:
        gc.enable()


def test_who_may(server: RunningServer) -> None:
    assert stat.S_IMODE(os.stat(server.shm_socket).st_mode) == 0o600
