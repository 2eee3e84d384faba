"""The output of a regress signature to one number an example, with upstream's checks in upstream's order and words."""

from __future__ import annotations

from collections.abc import Sequence

from ringserve.errors import Code, ServingError
from ringserve.output_tensor import Array, OutputTensor, shape_text, type_text
from ringserve.tensor import BY_NAME

_FLOAT = BY_NAME["float"].number


def regression(outputs: Sequence[OutputTensor], examples: int) -> Array:
    """The numbers, which may be a view of a lane. `outputs`: of the run of `examples` examples.

    Raises ServingError (INVALID_ARGUMENT).
    """
    if len(outputs) != 1:
        raise _invalid("Expected output_tensors and output_tensor_names to have the same size.")
    (output,) = outputs
    rank = len(output.shape)
    if rank != 1 and not (rank == 2 and output.shape[1] == 1):
        text = "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
        raise _invalid(text + shape_text(output))
    if output.shape[0] != examples:
        raise _invalid(f"Input batch size did not match output batch size: {examples} vs. {output.shape[0]}")
    if output.dtype.number != _FLOAT or isinstance(output.data, list):
        raise _invalid(f"Expected output Tensor of DT_FLOAT.  Got: {type_text(output.dtype)}")
    return output.data.reshape(-1)


def _invalid(text: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, text)
