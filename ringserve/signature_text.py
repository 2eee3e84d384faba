"""A signature as error texts show it: the text form of a SignatureDef message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ringserve.signature import Signature, TensorSpec

_ESCAPED: Final = dict(zip(b"\n\r\t\"'\\", ("\\n", "\\r", "\\t", '\\"', "\\'", "\\\\"), strict=True))


def signature_text(signature: Signature) -> str:
    """Lines as protobuf prints a SignatureDef, maps sorted by key."""
    lines = []
    for group, specs in (("inputs", signature.inputs), ("outputs", signature.outputs)):
        for spec in specs:
            lines += [f"{group} {{", f"  key: {_quoted(spec.alias)}", "  value {"]
            lines += [f"    {line}" for line in _tensor_lines(spec)]
            lines += ["  }", "}"]
    if signature.method:
        lines.append(f"method_name: {_quoted(signature.method)}")
    return "".join(f"{line}\n" for line in lines)


def _tensor_lines(spec: TensorSpec) -> Iterator[str]:
    yield f"name: {_quoted(spec.name)}"
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


def _quoted(text: str) -> str:
    """As protobuf's text form writes strings: what is not printable ASCII as octal numbers of its bytes."""
    written = [_ESCAPED.get(byte) or (chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte:03o}") for byte in text.encode()]
    return f'"{"".join(written)}"'
