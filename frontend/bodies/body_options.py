"""What the server's options say about bodies."""

from __future__ import annotations

from typing import NamedTuple

from ringserve.tensor_proto import DEFAULT_MOST_BYTES

Buffer = bytes | bytearray | memoryview


class BodyOptions(NamedTuple):
    """`most_bytes`: of the tensors of one request, however few bytes they came in; `check_method`: what
    --enable_signature_method_name_check says; `tensor_content`: what --enable_serialization_as_tensor_content says.
    """

    most_bytes: int = DEFAULT_MOST_BYTES
    check_method: bool = False
    tensor_content: bool = False
