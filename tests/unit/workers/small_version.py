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
from ringserve.tensor import BY_NAME
from shm.layout import Column
from shm.packed import PackedTensor
from workers.engine import Answers, Form, RowFunction, Target

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
            for value in x.tolist():
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
            y = self._version.compute(self._at(sources[0], rows).copy(), self._version.joined)
            if y.shape != (rows,):
                return False
            assert sum(count for count, _ in targets) == rows
            start = 0
            for count, (address,) in targets:
                self._at(address, count)[:] = y[start : start + count]
                start += count
            return True
        finally:
            self._busy.release()

    def _at(self, address: int, rows: int) -> Array:
        dtype = np.dtype(self._version.dtype.numpy)
        raw: Any = (ctypes.c_char * (rows * dtype.itemsize)).from_address(address)
        array: Array = np.frombuffer(raw, dtype=dtype)
        return array
