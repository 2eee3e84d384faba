"""A request of tf.Examples in a lane: strings, and classes or numbers made of what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from ringserve.classification import classification
from ringserve.client.answers import Class, Classification, Regression
from ringserve.client.operations import Classify, Regress
from ringserve.client.shm.inputs import Input, counted_rows, packed_inputs
from ringserve.client.shm.limit import Limit
from ringserve.client.shm.outputs import packed_outputs, values_of_packed
from ringserve.client.shm.predict_work import PackedWork
from ringserve.client.shm.terms import LaneTerms
from ringserve.client.shm.work import Tell
from ringserve.errors import Code, ServingError
from ringserve.example_request import example_inputs, named_classify_signature, named_regress_signature, with_context
from ringserve.output_tensor import Array
from ringserve.regression import regression
from ringserve.signature import Signature
from ringserve.tensor import DType, dtype_of
from shm.producer import LaneProducer

_UNCHECKED: Final = False  # of a signature's method: whether it counts is the server's to say


class _Output(NamedTuple):
    """A `ringserve.output_tensor.OutputTensor`."""

    dtype: DType
    shape: tuple[int, ...]
    data: Array | list[bytes]


class ExampleWork(PackedWork):
    """A Classify or a Regress."""

    __slots__ = ("_examples", "_regress")

    def __init__(self, operation: Classify | Regress, terms: LaneTerms, limit: Limit, tell: Tell | None) -> None:
        """Raises ServingError."""
        self._regress = isinstance(operation, Regress)
        self._examples = len(operation.examples)
        tensors = packed_inputs([_input(operation, terms)], terms)
        super().__init__(tensors, counted_rows(self._examples), None, terms, limit, tell)

    def read(self, producer: LaneProducer, start: int, end: int) -> bool:
        terms = self._terms
        outputs = _outputs(producer, terms, start)
        self.outcome = (
            Regression(regression(outputs, self._examples).tolist(), terms.source)
            if self._regress
            else Classification(_classes(terms.signature, outputs, self._examples), terms.source)
        )
        return True


def _input(operation: Classify | Regress, terms: LaneTerms) -> Input:
    """The examples as the signature's one input. Raises ServingError (INVALID_ARGUMENT), in upstream's order."""
    signature = terms.signature
    named = named_regress_signature if isinstance(operation, Regress) else named_classify_signature
    named(signature.name, {signature.name: signature}, _UNCHECKED)
    if not operation.examples:
        raise ServingError(Code.INVALID_ARGUMENT, "Input is empty.")
    rows = with_context(operation.context or b"", list(operation.examples), terms.most_bytes)
    number, shape, values = example_inputs(rows, signature)
    return Input(dtype_of(number), shape, values)


def _outputs(producer: LaneProducer, terms: LaneTerms, number: int) -> Sequence[_Output]:
    rows = producer.answer_rows(number)
    if rows is not None:
        return [_Output(dtype, row.shape, row) for dtype, row in zip(terms.output_dtypes, rows, strict=True)]
    tensors = packed_outputs(producer, terms, number)
    return [_Output(dtype_of(tensor.dtype), tensor.shape, values_of_packed(tensor)) for tensor in tensors]


def _classes(signature: Signature, outputs: Sequence[_Output], examples: int) -> list[list[Class]]:
    found = classification(signature, outputs, examples)
    count = examples * found.classes
    # Models have labels that are no texts.
    labels = [""] * count if found.labels is None else [label.decode(errors="replace") for label in found.labels]
    scores = [0.0] * count if found.scores is None else found.scores.tolist()
    if not count:
        return [[] for _ in range(examples)]
    classes = list(map(Class, labels, scores))
    return [classes[at : at + found.classes] for at in range(0, count, found.classes)]
