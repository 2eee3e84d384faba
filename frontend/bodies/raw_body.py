"""Bodies that are a tensor's bytes and nothing else; headers say what they are."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final

from frontend.bodies.arrays import MOST_DIMS, invalid, tensor_of_bytes
from frontend.bodies.asked import Asked, readable
from frontend.bodies.body_options import BodyOptions, Buffer
from frontend.bodies.element_types import EXPECTED, named_dtype, numpy_name
from frontend.bodies.npy import bytes_of
from frontend.bodies.tensor_body import TensorAnswer, TensorBody, one_input, one_output
from frontend.request_body import Answer
from frontend.tensors import Tensor
from ringserve.servable import ServableId
from ringserve.signature import Signature
from ringserve.tensor import STRING, DType

RAW: Final = "application/octet-stream"
DTYPE: Final = "X-Ringserve-Dtype"
SHAPE: Final = "X-Ringserve-Shape"

_DIM: Final = re.compile(r"\s*(-1|[0-9]{1,18})\s*")
_LONGEST: Final = 64 * 20  # characters of a shape


class RawBody(TensorBody):
    """Numbers row by row, little-endian; or the bytes of one string, of whatever kind: a picture, a tf.Example."""

    def __init__(
        self, body: Buffer, headers: Mapping[str, str], asked: Asked, answer: TensorAnswer, options: BodyOptions
    ) -> None:
        """Raises ServingError for headers that mean nothing."""
        super().__init__(asked, answer, options)
        self._body: Buffer = body
        name, shape = headers.get(DTYPE), headers.get(SHAPE)
        self._dtype = None if name is None else _dtype(name)
        self._shape = None if shape is None else parse_shape(shape)

    def sent(self, signature: Signature) -> Mapping[str, Tensor]:
        alias = one_input(signature, RAW)
        spec = signature.inputs[0]
        dtype = self._dtype or spec.dtype
        shape = spec.shape if self._shape is None else self._shape
        if dtype.numpy == spec.dtype.numpy and "q" in spec.dtype.name:
            dtype = spec.dtype  # integers stand for quantised ones, as in arrays of numpy's
        return {alias: raw_tensor(dtype, shape, self._body)}

    def forget(self) -> None:
        self._body = b""


def raw_tensor(dtype: DType, shape: tuple[int, ...] | None, data: Buffer) -> Tensor:
    """A view of the data. One dimension of the shape may be -1: it follows from the others and from how much data there is.

    Raises ServingError (INVALID_ARGUMENT).
    """
    if dtype is STRING:
        return Tensor(dtype, _worked_out(shape, 1), [bytes(data)])
    if not dtype.numpy:
        raise invalid(f"a raw body can't be of {dtype.name}")
    size = int(dtype.numpy[2:])
    count, rest = divmod(len(data), size)
    if rest:
        raise invalid(f"a raw body of {len(data)} bytes; expected a multiple of {size} for {dtype.name}")
    return tensor_of_bytes(dtype, _worked_out(shape, count), data)


def _worked_out(shape: tuple[int, ...] | None, count: int) -> tuple[int, ...]:
    """The shape of `count` elements. Raises ServingError (INVALID_ARGUMENT)."""
    expected = f"expected {SHAPE} with the dimensions, like 1,224,224,3"
    if shape is None or shape.count(-1) > 1:
        wanted = "any rank" if shape is None else list(shape)
        raise invalid(f"the shape of a raw body can't be worked out from {wanted}: {expected}")
    known = math.prod([dim for dim in shape if dim != -1])
    if -1 not in shape:
        if known != count:
            raise invalid(f"a raw body of {count} elements, but shape {list(shape)} has {known}: {expected}")
        return shape
    if not known or count % known:
        raise invalid(f"a raw body of {count} elements does not fit shape {list(shape)}: {expected}")
    return tuple([count // known if dim == -1 else dim for dim in shape])


def parse_shape(text: str) -> tuple[int, ...]:
    """ "1,224,224,3", brackets around it or not; "" is a scalar's. Raises ServingError (INVALID_ARGUMENT)."""
    inner = text.strip()
    if inner[:1] + inner[-1:] in ("()", "[]"):
        inner = inner[1:-1].strip()
    if not inner:
        return ()
    matches = [_DIM.fullmatch(part) for part in inner.removesuffix(",").split(",")] if len(inner) <= _LONGEST else [None]
    dims = tuple([int(match[1]) for match in matches if match is not None])
    if len(dims) < len(matches) or len(dims) > MOST_DIMS:
        expected = f"expected at most {MOST_DIMS} dimensions with commas between them, like 1,224,224,3"
        raise invalid(f"{SHAPE}: {readable(text)[:256]!r}; {expected}")
    return dims


def _dtype(name: str) -> DType:
    dtype = named_dtype(name.strip())
    if dtype is None:
        raise invalid(f"{DTYPE}: {readable(name)[:256]!r}; expected {EXPECTED}")
    return dtype


class RawAnswer:
    """The bytes of the one output that is asked for; headers say what they are. Implements `TensorAnswer`."""

    def __init__(self, outputs: Sequence[str]) -> None:
        self._outputs = outputs

    def check(self, signature: Signature) -> None:
        one_output(self._outputs, signature, RAW)

    def encode(self, servable: ServableId, signature: Signature, outputs: Sequence[Tensor]) -> Answer:
        dtype, shape, data = outputs[one_output(self._outputs, signature, RAW)]
        if isinstance(data, list):
            if len(data) != 1:
                text = f"a raw answer carries one string, not {len(data)}: ask for application/x-msgpack with Accept"
                raise invalid(text)
            body = data[0]
        else:
            body = bytes(bytes_of(data))
        headers = ((DTYPE, numpy_name(dtype)), (SHAPE, ",".join(map(str, shape))))
        return Answer(body, RAW, headers)
