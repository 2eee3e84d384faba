"""MessagePack messages of predict requests and their answers, as a client writes and reads them (docs/zmq.md).

A message is a header, a map, and frames behind it, which are the bytes of large arrays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgpack
import numpy as np

from ringserve.client.answers import Array, Prediction, Predictions, Source
from ringserve.client.operations import Predict, PredictEach, Which
from ringserve.client.tensors import array_of
from ringserve.errors import Code, ServingError
from ringserve.priority import LOW
from ringserve.tensor import BY_NAME, STRING

Buffer = bytes | bytearray | memoryview
Answer = dict[str, Any]

_MOST_TIMEOUT_MS: Final = (1 << 31) - 1
_MOST_INLINE: Final = (1 << 32) - 1  # what a MessagePack length can say
_SMALL: Final = 4096  # bytes of a message in which no array can pretend to be of a size that matters
_BOOL: Final = BY_NAME["bool"]
_STORAGE: Final = {name: np.dtype(dtype.numpy) for name, dtype in BY_NAME.items() if dtype.numpy}
_LARGEST_CODE: Final = max(Code)


def predict_message(
    operation: Predict | PredictEach, identifier: bytes | None, timeout: float | None, inline_below: int
) -> list[Buffer]:
    """The header and the frames, which are views of the arrays. Raises ServingError (INVALID_ARGUMENT).

    `timeout` in seconds; `inline_below`: arrays of fewer bytes are in the header itself.
    """
    frames: list[Buffer] = []
    # The order is what makes a server quick: requests that differ in nothing but their ids and their numbers, which come
    # last, are alike up to there.
    fields = named_fields(operation.which, operation.signature, timeout, operation.key, operation.low)
    if operation.outputs:
        fields["outputs"] = operation.outputs
    if isinstance(operation, PredictEach):
        fields["each"] = True
    if identifier is not None:
        fields["id"] = identifier
    fields["inputs"] = [
        (alias, dtype.name, tuple(shape), _data(values, inline_below, frames))
        for alias, (dtype, shape, values) in operation.inputs.items()
    ]
    return [packed(fields), *frames]


def named_fields(which: Which, signature: str, timeout: float | None, key: str | None, low: bool) -> Answer:
    """What every request of a model begins with."""
    model, version, label = which
    fields: Answer = {"v": 1, "model": model}
    if version is not None:
        fields["version"] = version
    if label is not None:
        fields["label"] = label
    if signature:
        fields["signature"] = signature
    if timeout is not None:
        fields["timeout_ms"] = timeout_in_ms(timeout)
    if key is not None:
        fields["key"] = key
    if low:
        fields["priority"] = LOW
    return fields


def timeout_in_ms(timeout: float) -> int:
    """As a message says so many seconds."""
    return min(max(math.ceil(timeout * 1000), 1), _MOST_TIMEOUT_MS)


def packed(fields: Answer) -> bytes:
    """Raises ServingError (INVALID_ARGUMENT) for what no message can carry."""
    try:
        message: bytes = msgpack.packb(fields)
    except (TypeError, ValueError, OverflowError) as error:
        raise ServingError(Code.INVALID_ARGUMENT, f"The request can't be written as MessagePack: {error}") from error
    return message


def read_answer(message: Buffer, frames: Sequence[Buffer] = ()) -> Answer | list[Answer]:
    """An answer, or several. Raises ServingError (INTERNAL) for what is no map, and no array of maps.

    `frames` are what the answers' arrays may lie in; they are looked at when an answer is read.
    """
    try:
        if len(message) > _SMALL:
            _check_whole(message)
        answer = msgpack.unpackb(message, unicode_errors="replace", ext_hook=_extension)
    except (ValueError, TypeError, msgpack.UnpackException, MemoryError) as error:
        raise damaged(f"it is no MessagePack ({str(error) or type(error).__name__})") from error
    if isinstance(answer, list) and answer and all(isinstance(one, dict) for one in answer):
        return answer
    if not isinstance(answer, dict):
        raise damaged(f"a map is expected, not {type(answer).__name__}")
    return answer


def error_of(answer: Mapping[str, Any]) -> ServingError | None:
    """What the server says instead of an answer; None: it is one."""
    if "error" not in answer and "code" not in answer:
        return None
    return _serving_error(answer.get("code"), answer.get("error"))


def prediction_of(answer: Mapping[str, Any], frames: Sequence[Buffer] = ()) -> Prediction:
    """Arrays that are views of a frame keep it alive, those of a frame that is read-only are copies.

    Raises ServingError: INTERNAL for a damaged answer, UNIMPLEMENTED for outputs that numpy has no arrays for.
    """
    return Prediction(_outputs(answer, frames), source_of(answer))


def predictions_of(answer: Mapping[str, Any], frames: Sequence[Buffer] = ()) -> Predictions:
    """As `prediction_of`, of a request whose rows were requests of their own."""
    errors: dict[int, ServingError] = {}
    for entry in sequence(answer.get("errors", []), "errors"):
        index, code, text = sequence(entry, "an error", 3)
        errors[number(index, "an error's index")] = _serving_error(code, text)
    return Predictions(_outputs(answer, frames), source_of(answer), errors)


def source_of(answer: Mapping[str, Any]) -> Source:
    """Raises ServingError (INTERNAL)."""
    version = number(answer.get("version"), "the version")
    return Source(text(answer.get("model"), "the model"), version, text(answer.get("signature", ""), "the signature"))


def text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise damaged(f"{what} is no text")
    return value


def number(value: Any, what: str) -> int:
    if type(value) is not int:
        raise damaged(f"{what} is no whole number")
    return value


def sequence(value: Any, what: str, size: int | None = None) -> list[Any]:
    if not isinstance(value, list) or (size is not None and len(value) != size):
        raise damaged(f"{what} is no array{'' if size is None else f' of {size}'}")
    return value


def damaged(why: str) -> ServingError:
    """The server's fault, not the caller's."""
    return ServingError(Code.INTERNAL, f"The server's answer can't be read: {why}")


def _data(values: Array | list[bytes], inline_below: int, frames: list[Buffer]) -> Any:
    """What stands for a tensor's elements in the header."""
    if isinstance(values, list):
        return values
    if values.nbytes < inline_below:
        if values.nbytes > _MOST_INLINE:
            raise ServingError(Code.INVALID_ARGUMENT, f"An input of {values.nbytes} bytes; a message carries 4 GiB at most")
        return values.tobytes()
    frames.append(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data if values.size else b"")
    return len(frames) - 1


def _check_whole(message: Buffer) -> None:
    """Raises ValueError or UnpackException where arrays or maps say that they have more elements than are there.

    The package makes room for what an array says, in each nested one again, before it has seen it.
    """
    size = len(message)
    unpacker = msgpack.Unpacker(
        max_buffer_size=size, max_array_len=size, max_map_len=size, max_str_len=size, max_bin_len=size, max_ext_len=size
    )
    unpacker.feed(message)
    unpacker.skip()


def _extension(code: int, data: bytes) -> None:
    """No extension means anything here."""


def _serving_error(code: Any, words: Any) -> ServingError:
    known = type(code) is int and 0 < code <= _LARGEST_CODE
    return ServingError(
        Code(code) if known else Code.UNKNOWN, words if isinstance(words, str) else "The server gave no reason"
    )


def _outputs(answer: Mapping[str, Any], frames: Sequence[Buffer]) -> list[tuple[str, Array]]:
    outputs = []
    for entry in sequence(answer.get("outputs"), "outputs"):
        alias, dtype, shape, data = sequence(entry, "an output", 4)
        name = text(alias, "an output's name")
        try:
            outputs.append((name, _array(dtype, shape, data, frames)))
        except ServingError as error:
            raise ServingError(error.code, f"Output {name!r}: {error.message}") from error
    return outputs


def _array(dtype_name: Any, shape: Any, data: Any, frames: Sequence[Buffer]) -> Array:
    dtype = BY_NAME.get(dtype_name) if isinstance(dtype_name, str) else None
    if dtype is None:
        raise damaged("there is no such type")
    if not isinstance(shape, list) or not all([type(dim) is int and dim >= 0 for dim in shape]):
        raise damaged(f"{shape!r:.200} is no shape")
    count = math.prod(shape)
    if dtype is STRING:
        strings = sequence(data, "what should be strings")
        if len(strings) != count or not all(isinstance(string, bytes) for string in strings):
            raise damaged(f"the shape is {shape}, which {len(strings)} values do not fill, or not all of them are strings")
        return array_of(dtype, shape, strings)
    storage = _STORAGE.get(dtype.name)
    if storage is None:
        raise damaged(f"an array of {dtype.name} can't be sent")
    if isinstance(data, bytes):
        data = bytearray(data)  # the caller may write to it
    elif type(data) is int and 0 <= data < len(frames):
        data = frames[data]
    else:
        raise damaged(f"the data are neither bytes nor the index of one of {len(frames)} frames")
    if len(data) != count * storage.itemsize:
        raise damaged(f"{len(data)} bytes are no {dtype.name} of the shape {shape}")
    values = np.frombuffer(data, storage)
    if dtype is _BOOL and count and values.view(np.uint8).max() > 1:
        raise damaged("a bool is neither 0 nor 1")
    return array_of(dtype, shape, values if values.flags.aligned else values.copy())
