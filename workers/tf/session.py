"""A SavedModel loaded through the C API, and its runs."""

from __future__ import annotations

import ctypes as c
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final

import numpy as np

from ringserve.errors import Code, ServingError
from ringserve.heap import give_memory_back
from ringserve.signature import Signature, TensorSpec
from ringserve.tensor import STRING, dtype_of
from shm.packed import PackedTensor
from workers.engine import Form, RowFunction, Target
from workers.tf import strings
from workers.tf.capi import KEEP, Buffer, Output, Pointer, Status, tensorflow
from workers.tf.checkpoint import check_checkpoint
from workers.tf.inputs import are_held, lend_copy
from workers.tf.metagraph import read_signatures
from workers.tf.operations import Operations
from workers.tf.state_changes import changing_signatures

# RunOptions{inter_op_thread_pool: -1}: run in the calling thread. Small models gain 3x, large ones nothing.
_INLINE: Final = b"\x18" + b"\xff" * 9 + b"\x01"

_MOST_ELEMENTS: Final = (1 << 63) - 1


def _inline_options() -> tuple[Any, Any]:
    raw = c.create_string_buffer(_INLINE, len(_INLINE))
    return c.pointer(Buffer(c.cast(raw, c.c_void_p), len(_INLINE), None)), raw


_INLINE_OPTIONS, _INLINE_MEMORY = _inline_options()


class Endpoints:
    """The graph's tensors behind a signature, as the C API wants them."""

    def __init__(self, session: Session, signature: Signature) -> None:
        self.feeds = session.outputs(signature.inputs)
        self.fetches = session.outputs(signature.outputs)
        self.feed_count = len(signature.inputs)
        self.fetch_count = len(signature.outputs)
        #: Does a run keep its inputs' memory? None until the first run, whose inputs are private copies, has told. Where
        #: state changes, one run says nothing of the next, which may assign the input that this one did not.
        self.keeps_inputs: bool | None = True if session.changes_state(signature.name) else None


class Session:
    """One version in memory. Implements `workers.engine.LoadedVersion`."""

    def __init__(self, path: str, tags: Sequence[str], config: bytes) -> None:
        tf = tensorflow()
        status = Status()
        self._graph = tf.NewGraph()
        self.pointer = None
        metagraph = Buffer()
        options = tf.NewSessionOptions()
        try:
            if config:
                tf.SetConfig(options, config, len(config), status.pointer)
                status.check()
            names = (c.c_char_p * len(tags))(*[tag.encode() for tag in tags])
            self.pointer = tf.LoadSessionFromSavedModel(
                options, None, path.encode(), names, len(tags), self._graph, c.byref(metagraph), status.pointer
            )
            status.check()
            view = memoryview((c.c_char * metagraph.length).from_address(metagraph.data)).cast("B")
            check_checkpoint(path, view)
            self.signatures: Mapping[str, Signature]
            self.signatures, self.metadata = read_signatures(view)
            self._changing = changing_signatures(view, self.signatures, Operations(self._graph).find)
            self._endpoints: dict[str, Endpoints] = {}
        except BaseException:
            self.unload()
            raise
        finally:
            tf.DeleteSessionOptions(options)
            metagraph.free()  # a copy of the whole graph: 2 MB a load of a ResNet, if it stayed

    def outputs(self, specs: Sequence[TensorSpec]) -> Any:
        """The graph's tensors with these names. Raises ServingError when the graph has no such."""
        found = (Output * max(len(specs), 1))()
        for target, spec in zip(found, specs, strict=False):
            name, _, index = spec.name.partition(":")
            operation = tensorflow().GraphOperationByName(self._graph, name.encode())
            if not operation or not (index or "0").isdigit():
                raise ServingError(
                    Code.FAILED_PRECONDITION, f"Tensor {spec.name} of input or output {spec.alias} is not in the graph"
                )
            target.operation, target.index = operation, int(index or 0)
        return found

    def endpoints(self, signature: str) -> Endpoints:
        """Made when first needed: a signature that can't be called (an init op, say) harms nobody."""
        found = self._endpoints.get(signature)
        if found is None:
            found = self._endpoints[signature] = Endpoints(self, self.signatures[signature])
        return found

    def changes_state(self, signature: str) -> bool:
        return signature in self._changing

    def run(self, signature: str, tensors: Sequence[PackedTensor], inline: bool) -> Results:
        return Results(self, self.endpoints(signature), tensors, inline)

    def row_function(self, signature: str, form: Form, inline: bool) -> RowFunction:
        return SessionRowFunction(self, self.endpoints(signature), form, inline)

    def unload(self) -> None:
        tf = tensorflow()
        status = Status()
        if self.pointer:
            tf.CloseSession(self.pointer, status.pointer)
            tf.DeleteSession(self.pointer, status.pointer)
            self.pointer = None
        if self._graph:
            tf.DeleteGraph(self._graph)
            self._graph = None
        give_memory_back()


class SessionRowFunction:
    """Runs rows of one form. Implements `workers.engine.RowFunction`.

    Everything that is the same for each run is made once: what is left are the C calls, at half a microsecond each.
    """

    def __init__(self, session: Session, endpoints: Endpoints, form: Form, inline: bool) -> None:
        self._tf = tensorflow()
        self._status = Status()
        self._values = (Pointer * max(endpoints.feed_count, 1))()
        self._answers = (Pointer * max(endpoints.fetch_count, 1))()
        # For each input: dtype, dims (the first is set for each run), their address, rank, bytes a row.
        self._inputs = []
        for dtype, column in form.inputs:
            dims = (c.c_int64 * (1 + len(column.shape)))(0, *column.shape)
            self._inputs.append((dtype, dims, c.addressof(dims), len(dims), column.row_bytes))
        # For each output: rank, the dimensions after the first as (index, size), bytes a row.
        self._outputs = [
            (1 + len(column.shape), tuple(enumerate(column.shape, start=1)), column.row_bytes) for _, column in form.outputs
        ]
        self._copies = endpoints.keeps_inputs is not False
        self._endpoints = endpoints  # keeps alive what the addresses below point to
        self._run = (
            session.pointer, c.addressof(_INLINE_OPTIONS.contents) if inline else None,
            c.addressof(endpoints.feeds), c.addressof(self._values), endpoints.feed_count,
            c.addressof(endpoints.fetches), c.addressof(self._answers), endpoints.fetch_count,
            None, 0, None, self._status.pointer,
        )  # fmt: skip

    def run(self, rows: int, sources: Sequence[int], targets: Sequence[Target]) -> bool:
        tf, values = self._tf, self._values
        fed = 0
        try:
            for dtype, dims, address, rank, row_bytes in self._inputs:
                dims[0] = rows
                nbytes = rows * row_bytes
                if self._copies:
                    memory = np.frombuffer(memoryview((c.c_char * nbytes).from_address(sources[fed])), dtype=np.uint8)
                    values[fed], _ = lend_copy(dtype, address, rank, memory)
                else:
                    values[fed] = tf.NewTensor(dtype, address, rank, sources[fed], nbytes, KEEP, None)
                fed += 1
            tf.SessionRun(*self._run)
        finally:
            for tensor in values[:fed]:
                tf.DeleteTensor(tensor)
        answers = self._answers[:]
        if not all(answers):  # a run that failed has no outputs
            self._status.check()
        try:
            return self._write(rows, answers, targets)
        finally:
            for tensor in answers:
                tf.DeleteTensor(tensor)

    def _write(self, rows: int, answers: Sequence[int | None], targets: Sequence[Target]) -> bool:
        """The outputs to the targets; False, and nothing written, when one is not `rows` rows of its column."""
        tf = self._tf
        for tensor, (rank, inner, _) in zip(answers, self._outputs):  # noqa: B905 - of one length by construction
            if tf.NumDims(tensor) != rank or tf.Dim(tensor, 0) != rows:
                return False
            for index, size in inner:
                if tf.Dim(tensor, index) != size:
                    return False
        index = 0
        for _, _, row_bytes in self._outputs:
            source = tf.TensorData(answers[index])
            for count, addresses in targets:
                c.memmove(addresses[index], source, count * row_bytes)
                source += count * row_bytes
            index += 1  # noqa: SIM113
        return True


class Results:
    """One run of any shape. Implements `workers.engine.Answers`: the run happens on entering."""

    def __init__(self, session: Session, endpoints: Endpoints, tensors: Sequence[PackedTensor], inline: bool) -> None:
        self._session = session
        self._endpoints = endpoints
        self._tensors = tensors
        self._options = _INLINE_OPTIONS if inline else None
        self._values = (Pointer * max(endpoints.feed_count, 1))()
        self._answers = (Pointer * max(endpoints.fetch_count, 1))()
        self._kept: list[Any] = []  # memory that the inputs lie in
        self._copies = endpoints.keeps_inputs is not False
        self._lent: list[int] = []  # numbers of the copies

    def __enter__(self) -> list[PackedTensor]:
        ends, status = self._endpoints, Status()
        if len(self._tensors) != ends.feed_count:
            raise ServingError(Code.INVALID_ARGUMENT, f"expected {ends.feed_count} input tensors, got {len(self._tensors)}")
        try:
            for index, tensor in enumerate(self._tensors):
                self._values[index] = self._feed(tensor)
            tensorflow().SessionRun(
                self._session.pointer, self._options,
                ends.feeds, self._values, ends.feed_count,
                ends.fetches, self._answers, ends.fetch_count,
                None, 0, None, status.pointer,
            )  # fmt: skip
            status.check()
            return [_fetched(self._answers[index]) for index in range(ends.fetch_count)]
        except BaseException:
            self.close()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
        if self._endpoints.keeps_inputs is None:
            self._endpoints.keeps_inputs = are_held(self._lent)

    def close(self) -> None:
        _delete(self._values)
        _delete(self._answers)
        self._kept.clear()

    def _feed(self, tensor: PackedTensor) -> Any:
        count = _element_count(tensor.shape)
        if tensor.dtype == STRING.number:
            try:
                text = bytes(tensor.data) if self._copies else tensor.data
                array: Any = strings.views(text, count)
            except ValueError as error:
                raise ServingError(Code.INVALID_ARGUMENT, str(error)) from error
        else:
            text = None
            array = np.frombuffer(tensor.data, dtype=np.uint8)
            storage = dtype_of(tensor.dtype).numpy
            if not storage or array.nbytes != count * np.dtype(storage).itemsize:
                raise ServingError(
                    Code.INVALID_ARGUMENT, f"{array.nbytes} bytes do not make a {dtype_of(tensor.dtype).name} tensor"
                )
        dims = (c.c_int64 * max(len(tensor.shape), 1))(*tensor.shape)
        if self._copies:
            pointer, number = lend_copy(tensor.dtype, c.addressof(dims), len(tensor.shape), array, text)
            self._lent.append(number)
            return pointer
        self._kept += array, tensor.data
        address = array.__array_interface__["data"][0]
        return tensorflow().NewTensor(tensor.dtype, dims, len(tensor.shape), address, array.nbytes, KEEP, None)


def _element_count(shape: Sequence[int]) -> int:
    """Raises ServingError where TensorFlow would end the process: it aborts on shapes of more elements than it can count.

    A dimension of 0 excuses nothing: an operation may reduce that one away and keep the others.
    """
    count = bound = 1
    for dim in shape:
        count *= dim
        bound *= dim or 1
        if dim < 0 or bound > _MOST_ELEMENTS:
            raise ServingError(Code.INVALID_ARGUMENT, f"{list(shape)} is not the shape of a tensor")
    return count


def _fetched(pointer: Any) -> PackedTensor:
    """An output tensor as packed bytes: a view of TensorFlow's memory, for strings a copy."""
    tf = tensorflow()
    dtype = tf.TensorType(pointer)
    shape = tuple(tf.Dim(pointer, index) for index in range(tf.NumDims(pointer)))
    address, nbytes = tf.TensorData(pointer), tf.TensorByteSize(pointer)
    if dtype == STRING.number:
        return PackedTensor(dtype, shape, strings.read(address, nbytes // strings.TSTRING_BYTES))
    if not dtype_of(dtype).numpy:
        raise ServingError(Code.UNIMPLEMENTED, f"outputs of type {dtype_of(dtype).name} can't be sent")
    if not nbytes:
        return PackedTensor(dtype, shape, b"")
    return PackedTensor(dtype, shape, memoryview((c.c_char * nbytes).from_address(address)).cast("B"))


def _delete(tensors: Any) -> None:
    for index, tensor in enumerate(tensors):
        if tensor:
            tensorflow().DeleteTensor(tensor)
            tensors[index] = None
