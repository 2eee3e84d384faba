"""Which bodies take so long to read that the loop had better not do it. None of this inflates or copies anything."""

from __future__ import annotations

from typing import Final

from frontend.bodies.arrays import QUICK_BYTES, QUICK_STRINGS
from frontend.bodies.body_options import Buffer
from frontend.bodies.kinds import Kind, kind_of
from frontend.bodies.message_reader import has_many_strings
from frontend.bodies.npy import find_npy
from frontend.bodies.zip_members import inflated_bytes
from ringserve.errors import ServingError

_QUICK_MESSAGE: Final = QUICK_STRINGS  # bytes: a string takes at least one


def is_heavy(content_type: str, body: Buffer) -> bool:
    """Does reading the body take more than a few ms? False for JSON, and for what is refused soon.

    A few bytes may still stand for inputs that do: see `AskingBody.heavy`, which is known when the body is decoded.
    """
    kind = kind_of(content_type)
    if kind is Kind.PROTOBUF:
        return len(body) > QUICK_BYTES
    try:
        if kind is Kind.NPY:
            return find_npy(body).is_slow
        if kind is Kind.NPZ:
            return inflated_bytes(body) > QUICK_BYTES
        return kind is Kind.MESSAGE and len(body) > _QUICK_MESSAGE and has_many_strings(body, QUICK_STRINGS)
    except ServingError:
        return False
