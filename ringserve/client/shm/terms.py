"""What the server says of a lane that it hands over: whom it leads to, and what its columns are for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ringserve.client.answers import Source
from ringserve.client.fact_answers import metadata_of
from ringserve.client.shm.declared_rows import DeclaredRows, Form
from ringserve.client.tensor_message import damaged, number, sequence, text
from ringserve.default_value import DefaultValue
from ringserve.signature import Signature
from ringserve.tensor import DType, dtype_of
from shm.layout import Column, LaneSpec

_MOST_COLUMNS: Final = 1 << 16
_MOST_BYTES: Final = 1 << 46  # of a lane; no machine maps more
_MOST_DIMS: Final = 32  # of a row, half of what numpy can do


@dataclass(frozen=True, slots=True)
class LaneTerms:
    """`form`: of the rows that its columns are for; None: it carries packed requests only."""

    number: int
    source: Source
    signature: Signature
    form: Form | None
    spec: LaneSpec
    output_dtypes: tuple[DType, ...]
    rows: DeclaredRows

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> LaneTerms:
        """Raises ServingError (INTERNAL) for a message that can't be."""
        name = text(message.get("signature"), "a signature's name")
        described = {**message, "signatures": {name: message.get("specs")}}
        metadata = metadata_of(described)
        signature = _with_defaults(metadata.signatures[name], message["specs"])
        ring_bytes = number(message.get("ring_bytes"), "a ring's size")
        inputs, outputs = _columns(message.get("columns"), signature)
        spec = LaneSpec.for_columns(inputs, outputs, ring_bytes=ring_bytes)
        if not 0 < ring_bytes <= _MOST_BYTES or spec.size > _MOST_BYTES:
            raise damaged("a lane of a size that no lane has")
        form = tuple((spec.dtype.number, column.shape) for spec, column in zip(signature.inputs, inputs, strict=False))
        return cls(
            number(message.get("lane"), "a lane's number"),
            Source(metadata.model, metadata.version, name),
            signature,
            form or None,
            spec,
            tuple(spec.dtype for spec in signature.outputs),
            DeclaredRows(signature, form, spec.rows // 2),
        )

    @property
    def most_rows(self) -> int:
        """Of a request: more would hold up the ring."""
        return self.spec.rows // 2

    @property
    def most_bytes(self) -> int:
        """Of a packed request: the server's --max_request_bytes, of which a ring holds four."""
        return self.spec.request_bytes // 4

    def is_for(self, other: LaneTerms) -> bool:
        """Do both lead to the same signature of the same version?"""
        return self.source == other.source and self.signature == other.signature


def _with_defaults(signature: Signature, specs: Any) -> Signature:
    found = specs.get("defaults")
    if not found:
        return signature
    if not isinstance(found, dict) or not all(isinstance(value, bytes) for value in found.values()):
        raise damaged("the default values are no map of tensors")
    defaults = tuple(DefaultValue(text(alias, "an input's name"), value) for alias, value in sorted(found.items()))
    return replace(signature, defaults=defaults)


def _columns(found: Any, signature: Signature) -> tuple[tuple[Column, ...], tuple[Column, ...]]:
    if found is None:
        return (), ()
    inputs, outputs = sequence(found, "the columns", 2)
    return (
        _group(inputs, [spec.dtype for spec in signature.inputs]),
        _group(outputs, [spec.dtype for spec in signature.outputs]),
    )


def _group(found: Any, dtypes: Sequence[DType]) -> tuple[Column, ...]:
    if len(sequence(found, "columns")) != len(dtypes) or len(dtypes) > _MOST_COLUMNS:
        raise damaged("there is not a column for each tensor of the signature")
    columns = []
    for column, declared in zip(found, dtypes, strict=True):
        which, numpy_type, shape = sequence(column, "a column", 3)
        dtype = dtype_of(number(which, "a type"))
        dims = tuple(number(dim, "a dimension") for dim in sequence(shape, "a row's shape"))
        if dtype.number != declared.number or not dtype.numpy or numpy_type != dtype.numpy:
            raise damaged(f"a column of {numpy_type} for a tensor of {declared.name}")
        if len(dims) > _MOST_DIMS or any(not 0 <= dim <= _MOST_BYTES for dim in dims):
            raise damaged(f"a column of rows of the shape {list(dims)}")
        columns.append(Column(dtype.numpy, dims))
    return tuple(columns)
