"""The servable of a loader whose versions take packed tensors and rows in lanes by themselves."""

from __future__ import annotations

from collections.abc import Mapping

from ringserve.errors import Code, ServingError
from ringserve.signature import Signature
from ringserve.tensor import STRING
from workers.engine import LoadedVersion
from workers.packed_arrays import Array, packed, stored, unpacked


class NativeServable:
    """Implements `ringserve.servable.Servable`. The worker runs `version` itself, without arrays between; a plug-in that
    builds on such a loader calls `run`.
    """

    def __init__(self, version: LoadedVersion) -> None:
        self.version = version
        # Those whose tensors have arrays: the initialisation of a graph, say, has none.
        self.signatures: Mapping[str, Signature] = {
            name: signature for name, signature in version.signatures.items() if _has_arrays(signature)
        }

    def run(self, signature: str, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        specs = self.signatures.get(signature)
        if specs is None:
            raise ServingError(Code.NOT_FOUND, f'There is no signature "{signature}"')
        wrong = set(inputs).symmetric_difference(spec.alias for spec in specs.inputs)
        if wrong:
            raise ServingError(Code.INVALID_ARGUMENT, f"missing or unknown inputs: {', '.join(sorted(wrong))}")
        tensors = []
        for spec in specs.inputs:
            try:
                tensors.append(packed(spec.dtype, stored(spec.dtype, inputs[spec.alias])))
            except ValueError as error:
                raise ServingError(Code.INVALID_ARGUMENT, f'input "{spec.alias}" {error}') from error
        with self.version.run(signature, tensors, False) as answers:
            return {spec.alias: unpacked(answer) for spec, answer in zip(specs.outputs, answers, strict=True)}


def _has_arrays(signature: Signature) -> bool:
    return all(spec.dtype.numpy or spec.dtype == STRING for spec in (*signature.inputs, *signature.outputs))
