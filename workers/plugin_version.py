"""A plug-in's servable, numpy in and out, as the worker runs it: packed tensors, and rows at addresses in lanes."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from ringserve.errors import Code, ServingError
from ringserve.servable import Servable
from ringserve.signature import Signature
from shm.packed import PackedTensor
from workers.engine import Answers, Form, Target
from workers.packed_arrays import Array, check_shape, packed, stored, unpacked
from workers.plugin_errors import plugin_errors
from workers.plugin_signatures import checked, shown


class PluginVersion:
    """Implements `workers.engine.LoadedVersion`. What the plug-in returns is looked at before a client sees it."""

    def __init__(self, servable: Servable) -> None:
        """Raises ServingError (INTERNAL) when its signatures can't be served."""
        self.signatures: Mapping[str, Signature] = checked(servable)
        self.metadata: Any = shown(self.signatures)
        self._servable = servable

    def changes_state(self, signature: str) -> bool:
        """No: a servable is to be a function of its inputs, and can be run on made-up rows."""
        return False

    def run(self, signature: str, tensors: Sequence[PackedTensor], inline: bool) -> Answers:
        specs = self.signatures[signature]
        outputs = self.compute(specs, self._inputs(specs, tensors))
        return nullcontext([packed(spec.dtype, array) for spec, array in zip(specs.outputs, outputs, strict=True)])

    def row_function(self, signature: str, form: Form, inline: bool) -> PluginRowFunction:
        return PluginRowFunction(self, self.signatures[signature], form)

    @staticmethod
    def _inputs(signature: Signature, tensors: Sequence[PackedTensor]) -> dict[str, Array]:
        """Raises ServingError (INVALID_ARGUMENT) for tensors that are not as the signature says."""
        if len(tensors) != len(signature.inputs):
            text = f"expected {len(signature.inputs)} input tensors, got {len(tensors)}"
            raise ServingError(Code.INVALID_ARGUMENT, text)
        arrays = {}
        for spec, tensor in zip(signature.inputs, tensors, strict=True):
            try:
                array = unpacked(tensor)
                if tensor.dtype != spec.dtype.number:
                    raise ValueError(f"is an array of {array.dtype}, expected {spec.dtype.name}")
                check_shape(spec, tensor.shape)
            except ValueError as error:
                raise ServingError(Code.INVALID_ARGUMENT, f'input "{spec.alias}" {error}') from error
            arrays[spec.alias] = array
        return arrays

    def compute(self, signature: Signature, inputs: Mapping[str, Array]) -> list[Array]:
        """The outputs in the signature's order, each exactly of its type. Raises ServingError."""
        rows = _rows(signature, inputs)
        with plugin_errors(f"signature {signature.name}"):
            answers = self._servable.run(signature.name, inputs)
            if not isinstance(answers, Mapping):
                raise _wrong(f"the servable returned a {type(answers).__name__}, expected a mapping")
            unknown = set(answers).difference(spec.alias for spec in signature.outputs)
            if unknown:
                raise _wrong(f"the servable returned unknown outputs: {', '.join(sorted(map(repr, unknown)))}")
            return [_output(signature, index, answers, rows) for index in range(len(signature.outputs))]


class PluginRowFunction:
    """Rows of one form. Implements `workers.engine.RowFunction`.

    The servable gets copies: what it keeps beyond its run would otherwise change, and end with the lane.
    """

    def __init__(self, version: PluginVersion, signature: Signature, form: Form) -> None:
        self._version = version
        self._signature = signature
        self._inputs = [(spec.alias, column) for spec, (_, column) in zip(signature.inputs, form.inputs, strict=True)]
        self._outputs = [column for _, column in form.outputs]

    def run(self, rows: int, sources: Sequence[int], targets: Sequence[Target]) -> bool:
        inputs = {}
        for (alias, column), source in zip(self._inputs, sources, strict=True):
            inputs[alias] = array = np.empty((rows, *column.shape), dtype=column.dtype)
            ctypes.memmove(_address(array), source, array.nbytes)
        outputs = self._version.compute(self._signature, inputs)
        if any(array.shape != (rows, *column.shape) for array, column in zip(outputs, self._outputs, strict=True)):
            return False
        for index, (array, column) in enumerate(zip(outputs, self._outputs, strict=True)):
            source = _address(array)
            for count, addresses in targets:
                ctypes.memmove(addresses[index], source, count * column.row_bytes)
                source += count * column.row_bytes
        return True


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def _rows(signature: Signature, inputs: Mapping[str, Array]) -> int | None:
    """How many rows a batch has; None where the inputs are no batch of rows."""
    if not signature.inputs or any(not spec.shape or spec.shape[0] != -1 for spec in signature.inputs):
        return None
    counts = {len(inputs[spec.alias]) for spec in signature.inputs}
    return counts.pop() if len(counts) == 1 else None


def _output(signature: Signature, index: int, answers: Mapping[str, Any], rows: int | None) -> Array:
    spec = signature.outputs[index]
    if spec.alias not in answers:
        raise _wrong(f'output "{spec.alias}" is missing')
    try:
        array = stored(spec.dtype, answers[spec.alias])
        check_shape(spec, array.shape)
    except ValueError as error:
        raise _wrong(f'output "{spec.alias}" {error}') from error
    if rows is not None and spec.shape and spec.shape[0] == -1 and len(array) != rows:
        raise _wrong(f'output "{spec.alias}" has {len(array)} rows for {rows} rows of input')
    return array


def _wrong(text: str) -> ServingError:
    return ServingError(Code.INTERNAL, text)
