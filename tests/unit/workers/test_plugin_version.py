"""A plug-in's servable as the worker runs it: by packed tensors, by rows in lanes, and when it does what it should not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from queue_rig import Rig, good
from small_version import Array
from tf_runs import FLOAT, address_of, array_of, floats, numbers, run, strings, texts_of

from ringserve.errors import Code, ServingError
from ringserve.protos import message_module
from ringserve.signature import DEFAULT_SIGNATURE, Signature, TensorSpec
from ringserve.tensor import BY_NAME, dtype_of
from shm.layout import Column
from shm.packed import PackedTensor
from workers.engine import Form
from workers.native_servable import NativeServable
from workers.plugin_version import PluginVersion
from workers.probe import probe

Run = Callable[[Mapping[str, Array]], Any]

FLOATS = (FLOAT, Column("<f4", ()))
PAIRS = (FLOAT, Column("<f4", (2,)))


class Plugged:
    """A servable of one signature."""

    def __init__(self, run: Run, signature: Signature | None = None) -> None:
        x_to_y = Signature.of({"x": ("float", (-1,))}, {"y": ("float", (-1,))})
        self.signatures: Any = {DEFAULT_SIGNATURE: signature or x_to_y}
        self._run = run

    def run(self, signature: str, inputs: Mapping[str, Array]) -> Any:
        assert signature in self.signatures
        return self._run(inputs)


def doubled(inputs: Mapping[str, Array]) -> dict[str, Array]:
    return {"y": 2 * inputs["x"]}


def raises(error: BaseException) -> Run:
    def fail(_: Mapping[str, Array]) -> None:
        raise error

    return fail


def failure(call: Callable[[], object]) -> tuple[Code, str]:
    with pytest.raises(ServingError) as caught:
        call()
    return caught.value.code, caught.value.message


def test_packed_runs() -> None:
    (y,) = run(PluginVersion(Plugged(doubled)), floats(1.0, 2.5))
    assert array_of(y).tolist() == [2.0, 5.0]


def test_strings_and_several_tensors_by_alias() -> None:
    signature = Signature.of(
        {"text": ("string", (-1,)), "count": ("int64", (-1,))},
        {"repeated": ("string", (-1,)), "length": ("int64", (-1,))},
    )

    def repeat(inputs: Mapping[str, Array]) -> dict[str, Any]:
        texts = [text * count for text, count in zip(inputs["text"].tolist(), inputs["count"].tolist(), strict=True)]
        return {"repeated": texts, "length": np.array([len(text) for text in texts])}

    count = numbers(np.array([2, 0, 1]), "int64")
    length, repeated = run(PluginVersion(Plugged(repeat, signature)), count, strings([b"ab", b"c", b"\0"]))
    assert array_of(length).tolist() == [4, 0, 1]
    assert texts_of(repeated) == [b"abab", b"", b"\0"]


@given(st.lists(st.tuples(st.floats(width=32), st.floats(width=32)), min_size=1, max_size=12), st.data())
def test_rows_go_to_their_targets(rows: list[tuple[float, float]], data: st.DataObject) -> None:
    """Against plain numpy: whatever way the rows are shared out among targets, NaN and all. Those that only fill the batch
    up have none.
    """
    signature = Signature.of({"x": ("float", (-1, 2))}, {"sum": ("float", (-1,)), "x": ("float", (-1, 2))})

    def compute(inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"x": inputs["x"], "sum": inputs["x"][:, 0] - inputs["x"][:, 1]}

    version = PluginVersion(Plugged(compute, signature))
    function = version.row_function(DEFAULT_SIGNATURE, Form((PAIRS,), (FLOATS, PAIRS)), True)
    x = np.array(rows, dtype="<f4")
    more = np.repeat(x[-1:], data.draw(st.integers(0, 3)), axis=0)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(rows)).filter(lambda cut: cut < len(rows)))) if len(rows) > 1 else [])
    sizes = np.diff([0, *cuts, len(rows)]).tolist()
    sums, copies = [np.zeros(size, "<f4") for size in sizes], [np.zeros((size, 2), "<f4") for size in sizes]
    targets = [(size, [address_of(total), address_of(copy)]) for size, total, copy in zip(sizes, sums, copies, strict=True)]
    with np.errstate(all="ignore"):
        assert function.run(len(rows) + len(more), [address_of(np.concatenate([x, more]))], targets)
        np.testing.assert_array_equal(np.concatenate(sums), x[:, 0] - x[:, 1])
    np.testing.assert_array_equal(np.concatenate(copies), x)


def test_rows_through_a_queue_and_whose_error_it_is() -> None:
    def picky(inputs: Mapping[str, Array]) -> dict[str, Array]:
        if (inputs["x"] < 0).any():
            raise ValueError("negative")
        return doubled(inputs)

    with Rig(PluginVersion(Plugged(picky))) as rig:
        for value in (1.0, -1.0, 3.0):
            rig.front.submit(value)
        assert rig.turns() == 1
        one, bad, three = rig.front.answers()
        assert (one.values, three.values) == ((2.0,), (6.0,))
        assert (bad.code, bad.text) == (Code.INTERNAL, "ValueError: negative")
        rig.front.submit_packed(5.0)
        rig.work()
        assert rig.front.answers() == [good(10.0, packed=True)]


def test_inputs_are_the_servables_own() -> None:
    """It may keep and change them: the lane's memory is another's."""
    kept: list[Array] = []

    def keep(inputs: Mapping[str, Array]) -> dict[str, Array]:
        kept.append(inputs["x"])
        inputs["x"][:] *= 2
        return {"y": inputs["x"]}

    version = PluginVersion(Plugged(keep))
    x, y = np.array([1, 2], dtype="<f4"), np.zeros(2, dtype="<f4")
    function = version.row_function(DEFAULT_SIGNATURE, Form((FLOATS,), (FLOATS,)), True)
    assert function.run(2, [address_of(x)], [(2, [address_of(y)])])
    run(version, floats(7.0))
    assert (x.tolist(), y.tolist()) == ([1, 2], [2, 4])
    y[:] = 0
    assert [array.tolist() for array in kept] == [[2, 4], [14]]


def test_the_probe_proves_a_plug_in() -> None:
    report = probe(PluginVersion(Plugged(doubled)), DEFAULT_SIGNATURE, (FLOATS,))
    assert (report.batched, report.form) == (True, Form((FLOATS,), (FLOATS,)))
    report = probe(
        PluginVersion(Plugged(lambda inputs: {"y": inputs["x"] - inputs["x"].mean()})), DEFAULT_SIGNATURE, (FLOATS,)
    )
    assert not report.batched


def test_rows_of_another_form_are_left_to_packed_answers() -> None:
    signature = Signature.of({"x": ("float", (-1,))}, {"y": ("float", (-1, -1))})
    version = PluginVersion(Plugged(lambda inputs: {"y": np.ones((len(inputs["x"]), 3), dtype="<f4")}, signature))
    function = version.row_function(DEFAULT_SIGNATURE, Form((FLOATS,), (PAIRS,)), True)
    x, y = np.zeros(1, dtype="<f4"), np.zeros((1, 2), dtype="<f4")
    assert not function.run(1, [address_of(x)], [(1, [address_of(y)])])
    assert not y.any()


# What the client did wrong.


@pytest.mark.parametrize(
    ("tensors", "text"),
    [
        ([], "expected 1 input tensors, got 0"),
        ([numbers(np.zeros(1), "double")], 'input "x" is an array of float64, expected float'),
        ([strings([b"1"])], 'input "x" is an array of object, expected float'),
        ([floats()._replace(shape=(), data=b"1234")], 'input "x" has the shape [], expected [-1]'),
        ([numbers(np.zeros((1, 2), "<f4"))], 'input "x" has the shape [1, 2], expected [-1]'),
        ([PackedTensor(FLOAT, (2,), b"1234")], 'input "x" cannot reshape'),
    ],
)
def test_inputs_that_are_refused(tensors: list[PackedTensor], text: str) -> None:
    code, message = failure(lambda: run(PluginVersion(Plugged(raises(AssertionError("never run")))), *tensors))
    assert code == Code.INVALID_ARGUMENT
    assert message.startswith(text)


def test_fixed_sizes_are_held_to() -> None:
    signature = Signature.of({"x": ("float", (-1, 2)), "z": ("float", None)}, {"y": ("float", None)})
    version = PluginVersion(Plugged(lambda inputs: {"y": inputs["x"]}, signature))
    run(version, numbers(np.zeros((5, 2), "<f4")), numbers(np.zeros((1, 1, 1), "<f4")))
    code, text = failure(lambda: run(version, numbers(np.zeros((5, 3), "<f4")), floats(1.0)))
    assert (code, text) == (Code.INVALID_ARGUMENT, 'input "x" has the shape [5, 3], expected [-1, 2]')


# What the plug-in did wrong.


class SilentError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text either")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("what"), "ValueError: what"),
        (KeyError(), "KeyError"),
        (SystemExit(1), "SystemExit: 1"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (StopIteration(), "StopIteration"),
        (GeneratorExit(), "GeneratorExit"),
        (SilentError(), "SilentError"),
        (ServingError(Code.OK, "no error?"), "ServingError: OK: no error?"),
        (ServingError(3, "a number"), "ServingError"),  # type: ignore[arg-type]
        (ServingError(Code.ABORTED, None), "ServingError: ABORTED: None"),  # type: ignore[arg-type]
    ],
)
def test_whatever_it_raises_is_an_answer(error: BaseException, text: str) -> None:
    assert failure(lambda: run(PluginVersion(Plugged(raises(error))), floats(1.0))) == (Code.INTERNAL, text)


def test_its_own_errors_pass() -> None:
    error = ServingError(Code.OUT_OF_RANGE, "too far")
    assert failure(lambda: run(PluginVersion(Plugged(raises(error))), floats(1.0))) == (Code.OUT_OF_RANGE, "too far")


class BrokenArray:
    def __array__(self, *_: object, **__: object) -> Array:
        raise OSError("disk")


@pytest.mark.parametrize(
    ("answers", "text"),
    [
        (None, "the servable returned a NoneType, expected a mapping"),
        (np.zeros(2, "<f4"), "the servable returned a ndarray, expected a mapping"),
        ({}, 'output "y" is missing'),
        ({"y": np.zeros(2, "<f4"), "z": 1, 5: 1}, "the servable returned unknown outputs: 'z', 5"),
        ({"y": np.zeros(2)}, 'output "y" is an array of float64, expected float32'),
        ({"y": None}, 'output "y" is an array of object, expected float32'),
        ({"y": [[1.0], [1.0, 2.0]]}, 'output "y" setting an array element with a sequence'),
        ({"y": np.zeros(3, "<f4")}, 'output "y" has 3 rows for 2 rows of input'),
        ({"y": np.zeros((2, 1), "<f4")}, 'output "y" has the shape [2, 1], expected [-1]'),
        ({"y": np.float32(1)}, 'output "y" has the shape [], expected [-1]'),
        ({"y": BrokenArray()}, "OSError: disk"),
    ],
)
def test_whatever_it_returns_is_looked_at(answers: Any, text: str) -> None:
    version = PluginVersion(Plugged(lambda _: answers))
    rows = version.row_function(DEFAULT_SIGNATURE, Form((FLOATS,), (FLOATS,)), True)
    x, y = np.zeros(2, dtype="<f4"), np.full(2, 5, dtype="<f4")
    for call in (lambda: run(version, floats(1.0, 2.0)), lambda: rows.run(2, [address_of(x)], [(2, [address_of(y)])])):
        code, message = failure(call)
        assert code == Code.INTERNAL
        assert message.startswith(text)
    assert y.tolist() == [5, 5]


def spec(**changes: Any) -> TensorSpec:
    return TensorSpec(**{"alias": "x", "name": "x:0", "dtype": BY_NAME["float"], "shape": (-1,), **changes})


@pytest.mark.parametrize(
    ("signatures", "text"),
    [
        (None, "signatures is a NoneType"),
        ({"s": None}, "signature 's': a ringserve.signature.Signature"),
        ({"s": Signature("t", "", (), ())}, "signature 's': a ringserve.signature.Signature of that name"),
        ({5: Signature(5, "", (), ())}, "signature 5"),  # type: ignore[arg-type]
        ({"s": Signature("s", None, (), ())}, "the method must be text"),  # type: ignore[arg-type]
        ({"s": Signature("s", "", (spec(), spec()), ())}, "two tensors have the same alias"),
        ({"s": Signature("s", "", ("x",), ())}, "a ringserve.signature.TensorSpec expected"),  # type: ignore[arg-type]
        ({"s": Signature("s", "", None, ())}, "TypeError"),  # type: ignore[arg-type]
        ({"s": Signature("s", "", (spec(dtype=BY_NAME["resource"]),), ())}, "of a type that can't be sent"),
        ({"s": Signature("s", "", (spec(dtype=dtype_of(99)),), ())}, "of a type that can't be sent"),
        ({"s": Signature("s", "", (spec(dtype="float"),), ())}, "of a type that can't be sent"),
        ({"s": Signature("s", "", (spec(shape=(-2,)),), ())}, "has the shape [-2]"),
        ({"s": Signature("s", "", (spec(shape=(1 << 63,)),), ())}, "has the shape"),
        ({"s": Signature("s", "", (spec(shape=(None, 2)),), ())}, "TypeError"),
        ({"s": Signature("s", "", (spec(alias="\ud800"),), ())}, "UnicodeEncodeError"),
    ],
)
def test_signatures_that_cant_be_served(signatures: Any, text: str) -> None:
    plugged = Plugged(doubled)
    plugged.signatures = signatures
    code, message = failure(lambda: PluginVersion(plugged))
    assert code == Code.INTERNAL
    assert text in message


def test_what_is_no_servable() -> None:
    class Nothing:
        signatures: Mapping[str, Signature] = {}

    assert failure(lambda: PluginVersion(Nothing())) == (  # type: ignore[arg-type]
        Code.INTERNAL,
        "Nothing is no servable: it has no method run",
    )


def test_tensors_are_put_in_the_lanes_order() -> None:
    z, a = spec(alias="z"), spec(alias="a", shape=(np.int64(-1), np.int64(3)))
    version = PluginVersion(Plugged(doubled, Signature(DEFAULT_SIGNATURE, "", (z, a), (z,))))
    (found,) = version.signatures.values()
    assert [spec.alias for spec in found.inputs] == ["a", "z"]
    assert [type(size) for size in found.inputs[0].shape or ()] == [int, int]


def test_metadata_is_as_tensorflow_shows_it() -> None:
    from google.protobuf import json_format  # noqa: PLC0415 - only here

    signature = Signature.of({"x": ("float", (-1, 3)), "n": ("int64", ())}, {"y": ("string", None)})
    message = message_module("tensorflow.core.protobuf.meta_graph_pb2").SignatureDef(method_name=signature.method)
    for tensors, group in ((signature.inputs, message.inputs), (signature.outputs, message.outputs)):
        for tensor in tensors:
            info = group[tensor.alias]
            info.name, info.dtype = tensor.name, tensor.dtype.number
            info.tensor_shape.SetInParent()
            info.tensor_shape.unknown_rank = tensor.shape is None
            for size in tensor.shape or ():
                info.tensor_shape.dim.add(size=size)
    expected = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    assert PluginVersion(Plugged(doubled, signature)).metadata == {DEFAULT_SIGNATURE: expected}


# A servable that a plug-in builds on.


def test_a_native_version_is_a_servable_too() -> None:
    servable = NativeServable(PluginVersion(Plugged(doubled)))
    x = np.array([1, 2], dtype="<f4")
    assert servable.run(DEFAULT_SIGNATURE, {"x": x})["y"].tolist() == [2, 4]
    assert list(servable.signatures) == [DEFAULT_SIGNATURE]
    code, text = failure(lambda: servable.run("other", {"x": x}))
    assert (code, text) == (Code.NOT_FOUND, 'There is no signature "other"')
    code, text = failure(lambda: servable.run(DEFAULT_SIGNATURE, {"z": x}))
    assert (code, text) == (Code.INVALID_ARGUMENT, "missing or unknown inputs: x, z")
    code, text = failure(lambda: servable.run(DEFAULT_SIGNATURE, {"x": np.zeros(1)}))
    assert (code, text) == (Code.INVALID_ARGUMENT, 'input "x" is an array of float64, expected float32')
