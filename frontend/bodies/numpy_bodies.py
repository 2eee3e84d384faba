"""Bodies that numpy writes: .npy, one array, and .npz, several by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from frontend.bodies.arrays import invalid
from frontend.bodies.asked import Asked
from frontend.bodies.body_options import BodyOptions, Buffer
from frontend.bodies.npy import NpyArray, as_declared, check_npy, find_npy, npy_parts
from frontend.bodies.tensor_body import TensorAnswer, TensorBody, chosen, one_input, one_output
from frontend.bodies.zip_archive import zip_archive
from frontend.bodies.zip_members import read_members
from frontend.request_body import Answer
from frontend.tensors import Tensor
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId
from ringserve.signature import Signature
from ringserve.tensor import DType

NPY: Final = "application/x-npy"
NPZ: Final = "application/x-npz"
_SUFFIX: Final = ".npy"


class NpyBody(TensorBody):
    """One array, for a signature with one input."""

    def __init__(self, body: Buffer, asked: Asked, answer: TensorAnswer, options: BodyOptions) -> None:
        """Raises ServingError for what is no such array."""
        super().__init__(asked, answer, options)
        self._array: NpyArray | None = find_npy(body)
        self.heavy = self._array.is_slow

    def sent(self, signature: Signature) -> Mapping[str, NpyArray]:
        alias = one_input(signature, NPY)
        assert self._array is not None
        return {alias: as_declared(self._array, signature.inputs[0])}

    def forget(self) -> None:
        self._array = None


class _Member(NamedTuple):
    """An array of an archive. Implements `frontend.bodies.tensor_body.Unread`."""

    name: str
    array: NpyArray

    @property
    def dtype(self) -> DType:
        return self.array.dtype

    def tensor(self, most_bytes: int) -> Tensor:
        with _named(self.name):
            return self.array.tensor(most_bytes)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Errors say which member they are about."""
    try:
        yield
    except ServingError as error:
        raise type(error)(error.code, f"{name}: {error.message}") from error


class NpzBody(TensorBody):
    """Arrays named as the signature's inputs."""

    def __init__(self, body: Buffer, asked: Asked, answer: TensorAnswer, options: BodyOptions) -> None:
        """Raises ServingError for what is no such archive."""
        super().__init__(asked, answer, options)
        self._members: dict[str, _Member] = {}
        for name, contents in read_members(body, options.most_bytes):
            alias = name.removesuffix(_SUFFIX)
            if alias == name or alias in self._members:
                expected = "expected each name once, ending in .npy, as numpy.savez writes them"
                raise invalid(f"the archive has a member {name!r}; {expected}")
            with _named(name):
                self._members[alias] = _Member(name, find_npy(contents))
        self.heavy = any(member.array.is_slow for member in self._members.values())

    def sent(self, signature: Signature) -> Mapping[str, _Member]:
        members = dict(self._members)
        for spec in signature.inputs:
            member = members.get(spec.alias)
            if member is not None:
                members[spec.alias] = member._replace(array=as_declared(member.array, spec))
        return members

    def forget(self) -> None:
        self._members = {}


class NpyAnswer:
    """The one output that is asked for, as a .npy file. Implements `TensorAnswer`."""

    def __init__(self, outputs: Sequence[str]) -> None:
        self._outputs = outputs

    def check(self, signature: Signature) -> None:
        check_npy(signature.outputs[one_output(self._outputs, signature, NPY)].dtype)

    def encode(self, servable: ServableId, signature: Signature, outputs: Sequence[Tensor]) -> Answer:
        return Answer(b"".join(npy_parts(outputs[one_output(self._outputs, signature, NPY)])), NPY)


class NpzAnswer:
    """Outputs as a .npz file, not compressed. Implements `TensorAnswer`."""

    def __init__(self, outputs: Sequence[str]) -> None:
        self._outputs = outputs

    def check(self, signature: Signature) -> None:
        for index in chosen(self._outputs, signature):
            spec = signature.outputs[index]
            try:
                check_npy(spec.dtype)
            except ServingError as error:
                raise ServingError(Code.INVALID_ARGUMENT, f"Output {spec.alias}: {error.message}") from error

    def encode(self, servable: ServableId, signature: Signature, outputs: Sequence[Tensor]) -> Answer:
        indices = chosen(self._outputs, signature)
        return Answer(zip_archive([(signature.outputs[i].alias + _SUFFIX, npy_parts(outputs[i])) for i in indices]), NPZ)
