"""The ModelSpec of an answer: which version and signature it comes from."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from ringserve.servable import ServableId
from ringserve.tensor_proto_writer import varint

_NAME_TAG: Final = b"\x0a"
_VERSION_TAG: Final = b"\x12"
_SIGNATURE_TAG: Final = b"\x1a"
_INT64_TAG: Final = b"\x08"


@lru_cache(1024)  # of signatures that are served: nothing that a client made up
def model_spec_echo(servable: ServableId, signature: str) -> bytes:
    """Serialised; `signature`: the name of the one that was used, also where the request left it out."""
    version = _INT64_TAG + varint(servable.version) if servable.version else b""
    fields = ((_NAME_TAG, servable.name.encode()), (_VERSION_TAG, version), (_SIGNATURE_TAG, signature.encode()))
    return b"".join([tag + varint(len(content)) + content for tag, content in fields])
