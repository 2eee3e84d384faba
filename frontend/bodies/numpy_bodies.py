"""Bodies that numpy writes: .npy, one array, and .npz, several by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from frontend.bodies.arrays import invalid
from frontend.bodies.asked import Asked
from frontend.bodies.body_options import BodyOptions, Buffer
from frontend.bodies.npy import as_declared, check_npy, npy_parts, read_npy
from frontend.bodies.tensor_body import TensorAnswer, TensorBody, chosen, one_input, one_output
from frontend.bodies.zip_archive import zip_archive
from frontend.bodies.zip_members import read_members
from frontend.request_body import Answer
from frontend.tensors import Tensor
from ringserve.errors import Code, ServingError
from ringserve.servable import ServableId
from ringserve.signature import Signature

NPY: Final = "application/x-npy"
NPZ: Final = "application/x-npz"
_SUFFIX: Final = ".npy"


class NpyBody(TensorBody):
    """One array, for a signature with one input."""

    def __init__(self, body: Buffer, asked: Asked, answer: TensorAnswer, options: BodyOptions) -> None:
        """Raises ServingError for what is no such array."""
        super().__init__(asked, answer, options)
        self._tensor = read_npy(body, options.most_bytes)

    def sent(self, signature: Signature) -> Mapping[str, Tensor]:
        alias = one_input(signature, NPY)
        return {alias: as_declared(self._tensor, signature.inputs[0])}


class NpzBody(TensorBody):
    """Arrays named as the signature's inputs."""

    def __init__(self, body: Buffer, asked: Asked, answer: TensorAnswer, options: BodyOptions) -> None:
        """Raises ServingError for what is no such archive."""
        super().__init__(asked, answer, options)
        self._tensors: dict[str, Tensor] = {}
        for name, contents in read_members(body, options.most_bytes):
            alias = name.removesuffix(_SUFFIX)
            if alias == name or alias in self._tensors:
                expected = "expected each name once, ending in .npy, as numpy.savez writes them"
                raise invalid(f"the archive has a member {name!r}; {expected}")
            try:
                self._tensors[alias] = read_npy(contents, options.most_bytes)
            except ServingError as error:
                raise type(error)(error.code, f"{name}: {error.message}") from error

    def sent(self, signature: Signature) -> Mapping[str, Tensor]:
        tensors = dict(self._tensors)
        for spec in signature.inputs:
            if spec.alias in tensors:
                tensors[spec.alias] = as_declared(tensors[spec.alias], spec)
        return tensors


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
