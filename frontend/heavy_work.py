"""Work that would hold up other requests: it is done in a thread."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence
from typing import Final, ParamSpec, TypeVar

from frontend.tensors import Tensor

HEAVY: Final = 1 << 20  # bytes of a message, or of an output, each of whose values is converted
MANY_TEXTS: Final = 10_000  # in an output

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Python code in there shares the processor with the loop; what a cancelled request began there comes to its own end."""
    return await asyncio.get_running_loop().run_in_executor(None, functools.partial(function, *arguments, **named))


def is_heavy_answer(outputs: Sequence[Tensor]) -> bool:
    """Would it hold up other requests for long to convert each of their values?"""
    for tensor in outputs:
        data = tensor.data
        if (len(data) > MANY_TEXTS) if isinstance(data, list) else (data.nbytes > HEAVY):
            return True
    return False
