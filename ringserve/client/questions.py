"""What callers of either client pass, as operations: checked, and with the types that a signature says.

Every function raises ServingError: INVALID_ARGUMENT for what can't be sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ringserve.client.example_features import Example, one_serialised, serialised
from ringserve.client.input_tensors import Lookup, input_tensors, rows_of_requests
from ringserve.client.key import checked_key
from ringserve.client.names import checked_name, checked_outputs, checked_which
from ringserve.client.operations import Classify, MetadataOf, Predict, PredictEach, Ready, Regress, Status, Which
from ringserve.client.priority import checked_priority
from ringserve.errors import Code, ServingError


class PredictWords(NamedTuple):
    """Of a predict request all but its inputs."""

    which: Which
    signature: str
    outputs: tuple[str, ...]
    key: str | None
    low: bool

    @classmethod
    def of(
        cls,
        model: str,
        version: int | None,
        label: str | None,
        signature: str,
        outputs: Sequence[str] | None,
        key: str | None,
        priority: str,
    ) -> PredictWords:
        which = checked_which(model, version, label, signature)
        return cls(which, signature, checked_outputs(outputs), checked_key(key), checked_priority(priority))

    def predict(self, inputs: Any, lookup: Lookup) -> Predict:
        """`lookup`: finds the signature, where the inputs don't say all; what it raises is raised."""
        return Predict(self.which, self.signature, input_tensors(inputs, lookup), self.outputs, self.key, self.low)

    def predict_each(self, inputs: Any, lookup: Lookup) -> PredictEach:
        tensors = rows_of_requests(input_tensors(inputs, lookup))
        return PredictEach(self.which, self.signature, tensors, self.outputs, self.key, self.low)


class ExampleWords(NamedTuple):
    """Of a request of examples."""

    which: Which
    signature: str
    examples: tuple[bytes, ...]
    context: bytes | None
    key: str | None
    low: bool

    @classmethod
    def of(
        cls,
        model: str,
        version: int | None,
        label: str | None,
        signature: str,
        examples: Iterable[Example],
        context: Example | None,
        key: str | None,
        priority: str,
    ) -> ExampleWords:
        which = checked_which(model, version, label, signature)
        of_all = None if context is None else one_serialised(context)
        low = checked_priority(priority)
        return cls(which, signature, tuple(serialised(examples)), of_all, checked_key(key), low)

    def classify(self) -> Classify:
        return Classify(*self)

    def regress(self) -> Regress:
        return Regress(*self)


def status(model: str, version: int | None) -> Status:
    name, number, _ = checked_which(model, version, None)
    return Status(name, number)


def metadata_of(model: str, version: int | None, label: str | None) -> MetadataOf:
    return MetadataOf(checked_which(model, version, label))


def ready(model: str) -> Ready:
    return Ready(checked_name(model))


def is_not_ready(error: ServingError) -> bool:
    """Does this answer to `Ready` mean no?"""
    return error.code in (Code.NOT_FOUND, Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)
