"""A signature as error texts show it: the text form of a SignatureDef message."""

from __future__ import annotations

import json
from collections.abc import Iterator

from ringserve.signature import Signature, TensorSpec


def signature_text(signature: Signature) -> str:
    """Lines as protobuf prints a SignatureDef, maps sorted by key."""
    lines = []
    for group, specs in (("inputs", signature.inputs), ("outputs", signature.outputs)):
        for spec in specs:
            lines += [f"{group} {{", f"  key: {json.dumps(spec.alias)}", "  value {"]
            lines += [f"    {line}" for line in _tensor_lines(spec)]
            lines += ["  }", "}"]
    if signature.method:
        lines.append(f"method_name: {json.dumps(signature.method)}")
    return "".join(f"{line}\n" for line in lines)


def _tensor_lines(spec: TensorSpec) -> Iterator[str]:
    yield f"name: {json.dumps(spec.name)}"
    if spec.dtype.number:
        yield f"dtype: DT_{spec.dtype.name.upper()}"
    yield "tensor_shape {"
    if spec.shape is None:
        yield "  unknown_rank: true"
    for size in spec.shape or ():
        yield "  dim {"
        if size:
            yield f"    size: {size}"
        yield "  }"
    yield "}"
