"""A servable version in plain numpy: an engine small enough to see which rows were run together, and to hold up a run."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from ringserve.errors import Code, ServingError
from ringserve.signature import DEFAULT_SIGNATURE, Signature, TensorSpec
from ringserve.tensor import BY_NAME, DTYPES
from shm.layout import Column
from shm.packed import PackedTensor
from workers.engine import Answers, Form, RowFunction, Target
from workers.packed_arrays import packed, unpacked

Array = npt.NDArray[Any]
Function = Callable[[Array], Array]

LIMIT = 20.0  # seconds that anything here may wait


class WorkerDeath(BaseException):
    """The process ends here: nothing that runs after it in a real worker may run after it in a test."""


def twice_and_one(x: Array) -> Array:
    """2 x + 1, an error of the model where a row is negative."""
    if (x < 0).any():
        raise ServingError(Code.INVALID_ARGUMENT, f"negative row {x.min():g}")
    return 2 * x + 1


class SmallVersion:
    """One signature: y = function(x) of numbers without dimensions. Implements `workers.engine.LoadedVersion`."""

    def __init__(self, function: Function = twice_and_one, dtype: str = "float") -> None:
        self.function = function
        self.dtype = BY_NAME[dtype]
        x, y = (TensorSpec(name, name + ":0", self.dtype, (-1,)) for name in ("x", "y"))
        self.signatures: Mapping[str, Signature] = {DEFAULT_SIGNATURE: Signature(DEFAULT_SIGNATURE, "", (x,), (y,))}
        self.metadata: Any = {}
        self.column = (self.dtype.number, Column(self.dtype.numpy, ()))
        self.form = Form((self.column,), (self.column,))
        self.joined: list[list[float]] = []  # the rows of each run of rows
        self.alone: list[list[float]] = []  # the rows of each run of one request
        self.gates: dict[float, threading.Event] = {}  # a run with this row waits for its gate
        self.changing = False
        self.unloaded = False
        self.most_at_once = 0
        self._running = 0
        self._lock = threading.Lock()

    @property
    def runs(self) -> int:
        return len(self.joined) + len(self.alone)

    def compute(self, x: Array, log: list[list[float]]) -> Array:
        log.append(x.tolist())
        with self._lock:
            assert not self.unloaded
            self._running += 1
            self.most_at_once = max(self.most_at_once, self._running)
        try:
            for value in x.reshape(-1).tolist():
                if value in self.gates:
                    assert self.gates[value].wait(LIMIT)
            return np.ascontiguousarray(self.function(x), dtype=x.dtype)
        finally:
            with self._lock:
                self._running -= 1

    def changes_state(self, signature: str) -> bool:
        return self.changing

    def run(self, signature: str, tensors: Sequence[PackedTensor], inline: bool) -> Answers:
        return _Answers(self, *tensors)

    def row_function(self, signature: str, form: Form, inline: bool) -> RowFunction:
        return _Rows(self)

    def unload(self) -> None:
        with self._lock:
            assert not self._running, "no run is under way"
        self.unloaded = True


class _Answers:
    def __init__(self, version: SmallVersion, tensor: PackedTensor) -> None:
        self._version = version
        self._x = np.frombuffer(tensor.data, dtype=version.dtype.numpy).reshape(tensor.shape).copy()

    def __enter__(self) -> Sequence[PackedTensor]:
        y = self._version.compute(self._x, self._version.alone)
        return [PackedTensor(self._version.dtype.number, y.shape, y.tobytes())]

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass


class _Rows:
    def __init__(self, version: SmallVersion) -> None:
        self._version = version
        self._busy = threading.Lock()

    def run(self, rows: int, sources: Sequence[int], targets: Sequence[Target]) -> bool:
        assert self._busy.acquire(blocking=False), "a row function is used by one thread at a time"
        try:
            column = self._version.column[1]
            y = self._version.compute(_rows_at(sources[0], rows, column).copy(), self._version.joined)
            if y.shape != (rows,):
                return False
            assert sum(count for count, _ in targets) <= rows
            start = 0
            for count, (address,) in targets:
                _rows_at(address, count, column)[:] = y[start : start + count]
                start += count
            return True
        finally:
            self._busy.release()


class ArrayVersion:
    """Any function of arrays of any types and shapes; strings are object arrays of bytes.

    The outputs' memory is full of other bytes once a run is over, as an engine's may be.
    """

    signatures: Mapping[str, Signature] = {}
    metadata: Any = None

    def __init__(self, function: Callable[..., Array | Sequence[Array]]) -> None:
        self._function = function
        self.shapes: list[list[tuple[int, ...]]] = []  # of the inputs of each run

    def compute(self, inputs: Sequence[Array]) -> list[Array]:
        self.shapes.append([array.shape for array in inputs])
        outputs = self._function(*inputs)
        return [outputs] if isinstance(outputs, np.ndarray) else list(outputs)

    def changes_state(self, signature: str) -> bool:
        return False

    def run(self, signature: str, tensors: Sequence[PackedTensor], inline: bool) -> Answers:
        return _ArrayAnswers(self, tensors)

    def row_function(self, signature: str, form: Form, inline: bool) -> RowFunction:
        return _ArrayRows(self, form)


class _ArrayAnswers:
    def __init__(self, version: ArrayVersion, tensors: Sequence[PackedTensor]) -> None:
        self._version = version
        self._tensors = tensors
        self._memory: list[bytearray] = []

    def __enter__(self) -> Sequence[PackedTensor]:
        answers = []
        for array in self._version.compute([unpacked(tensor) for tensor in self._tensors]):
            dtype = next(dtype for dtype in DTYPES.values() if np.dtype(dtype.numpy or object) == array.dtype)
            self._memory.append(bytearray(packed(dtype, np.ascontiguousarray(array).reshape(array.shape)).data))
            answers.append(PackedTensor(dtype.number, array.shape, memoryview(self._memory[-1])))
        return answers

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for memory in self._memory:
            memory[:] = b"\xee" * len(memory)


class _ArrayRows:
    def __init__(self, version: ArrayVersion, form: Form) -> None:
        self._version = version
        self._form = form

    def run(self, rows: int, sources: Sequence[int], targets: Sequence[Target]) -> bool:
        columns = zip(sources, self._form.inputs, strict=True)
        outputs = self._version.compute([_rows_at(address, rows, column).copy() for address, (_, column) in columns])
        wanted = [((rows, *column.shape), np.dtype(column.dtype)) for _, column in self._form.outputs]
        if [(array.shape, array.dtype) for array in outputs] != wanted:
            return False
        start = 0
        for count, addresses in targets:
            for address, array, (_, column) in zip(addresses, outputs, self._form.outputs, strict=True):
                _rows_at(address, count, column)[...] = array[start : start + count]
            start += count
        return True


def _rows_at(address: int, rows: int, column: Column) -> Array:
    raw: Any = (ctypes.c_char * (rows * column.row_bytes)).from_address(address)
    array: Array = np.frombuffer(raw, dtype=column.dtype).reshape((rows, *column.shape))
    return array
