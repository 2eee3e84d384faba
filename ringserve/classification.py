"""The outputs of a classify signature to labels and scores, with upstream's checks in upstream's order and words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from ringserve.errors import Code, ServingError
from ringserve.output_tensor import Array, OutputTensor, shape_text, type_text
from ringserve.signature import Signature
from ringserve.tensor import BY_NAME, STRING, DType

_FLOAT: Final = BY_NAME["float"]


class Classification(NamedTuple):
    """`classes` labels and scores for each of `examples` examples, each row-major in one sequence.

    None: the signature has no such output. Then labels are empty, and scores are zero. Scores may be a view of a lane.
    """

    examples: int
    classes: int
    labels: list[bytes] | None
    scores: Array | None


def classification(signature: Signature, outputs: Sequence[OutputTensor], examples: int) -> Classification:
    """`outputs`: of the run of `examples` examples, one for each of the signature's. Raises ServingError (INVALID_ARGUMENT).

    The signature has passed the checks before the run; outputs other than labels and scores are left out.
    """
    if len(outputs) != len(signature.outputs):
        raise _invalid(f"Expected {len(signature.outputs)} output tensor(s).  Got: {len(outputs)}")
    by_alias = {spec.alias: (spec.name, tensor) for spec, tensor in zip(signature.outputs, outputs, strict=True)}
    labels, scores = by_alias.get("classes"), by_alias.get("scores")
    if labels is not None and scores is not None and labels[0] == scores[0]:
        scores = None  # one tensor under both names counts as labels, as upstream
    label_data = score_data = None
    counts = []
    if labels is not None:
        label_data = _checked("classes", labels[1], STRING, examples)
        counts.append(labels[1].shape[1])
    if scores is not None:
        score_data = _checked("scores", scores[1], _FLOAT, examples)
        counts.append(scores[1].shape[1])
    if counts[0] != counts[-1]:
        raise _invalid(f"Tensors class and score should match in dim_size(1). Got {counts[0]} vs. {counts[-1]}")
    return Classification(examples, counts[0], label_data, None if score_data is None else score_data.reshape(-1))


def _checked(alias: str, tensor: OutputTensor, dtype: DType, examples: int) -> Any:
    """The tensor's data, of this dtype."""
    if len(tensor.shape) != 2:
        raise _invalid(f"Expected Tensor shape: [batch_size num_classes] but got {shape_text(tensor)}")
    if tensor.dtype.number != dtype.number:
        raise _invalid(f"Expected {alias} Tensor of {type_text(dtype)}. Got: {type_text(tensor.dtype)}")
    if tensor.shape[0] != examples:
        raise _invalid(f"Expected {alias} output batch size of {examples}. Got: {tensor.shape[0]}")
    return tensor.data


def _invalid(text: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, text)
