"""ringserve: serves TensorFlow models from processes that share memory; a drop-in for TensorFlow Serving.

The light client is here too: `Client`, `AsyncClient`, `Tls`, `CurveKeys`, and the `ServingError` with a `Code` that both
raise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ringserve.client import Client as Client
    from ringserve.client import Tls as Tls
    from ringserve.client.async_client import AsyncClient as AsyncClient
    from ringserve.client.zmq.keys import CurveKeys as CurveKeys
    from ringserve.errors import Code as Code
    from ringserve.errors import ServingError as ServingError

__version__ = "0.1.0"

# Only when asked for: every process of a server imports this package, and none of them is a client.
_ELSEWHERE = {
    "AsyncClient": "ringserve.client.async_client",
    "Client": "ringserve.client",
    "CurveKeys": "ringserve.client.zmq.keys",
    "Tls": "ringserve.client",
    "Code": "ringserve.errors",
    "ServingError": "ringserve.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415

    return getattr(importlib.import_module(_ELSEWHERE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_ELSEWHERE})
