"""ClassificationRequest and RegressionRequest messages on the wire, which have the same fields. ::

message ClassificationRequest { ModelSpec model_spec = 1; Input input = 2; }
message Input { oneof kind { ExampleList example_list = 1; ExampleListWithContext example_list_with_context = 2; } }
// in both lists: repeated Example examples = 1; in the other also: Example context = 2
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ringserve.tensor_proto_writer import varint

_INPUT_TAG: Final = b"\x12"
_LIST_TAG: Final = b"\x0a"
_LIST_WITH_CONTEXT_TAG: Final = b"\x12"
_EXAMPLE_TAG: Final = b"\x0a"
_CONTEXT_TAG: Final = b"\x12"


def example_request(spec: bytes, examples: Sequence[bytes], context: bytes | None = None) -> bytes:
    """`spec`: the field that `model_spec_field` writes; `examples` and `context`: serialised tf.Examples."""
    rows = b"".join([_field(_EXAMPLE_TAG, example) for example in examples])
    if context is None:
        filled = _field(_LIST_TAG, rows)
    else:
        filled = _field(_LIST_WITH_CONTEXT_TAG, rows + _field(_CONTEXT_TAG, context))
    return spec + _field(_INPUT_TAG, filled)


def _field(tag: bytes, content: bytes) -> bytes:
    return b"".join((tag, varint(len(content)), content))
