"""What clients and a worker may do to a front end, one step after the other, and the requests of `AnyOrder`; for tests."""

from __future__ import annotations

import gzip
from typing import NamedTuple

from hypothesis import strategies as st
from rest_stage import PREDICT

CLIENTS = 3
KINDS = ("plain", "packed", "chunked", "gzip", "compressed answer", "malformed", "unknown", "status")


class Send(NamedTuple):
    """A client has so many more requests to send; `at_once`: and sends them."""

    client: int
    kind: str
    how_many: int
    at_once: bool = True


class Push(NamedTuple):
    """Bytes of them go out; 0: all."""

    client: int
    size: int


class Turns(NamedTuple):
    """Of the event loop."""

    how_many: int


class Answer(NamedTuple):
    """The worker completes so many requests, if there are as many; the doorbell is rung for each, or once."""

    how_many: int
    one_by_one: bool


class Fail(NamedTuple):
    """The worker completes a request with this error."""

    code: int


class Expire(NamedTuple):
    """The time of all requests in the lane is up."""


class Leave(NamedTuple):
    """A client goes away, and another comes. One that leaves politely only says that it will send no more."""

    client: int
    politely: bool


class Open(NamedTuple):
    """The lane is there."""


Step = Send | Push | Turns | Answer | Fail | Expire | Leave | Open

_clients = st.integers(0, CLIENTS - 1)
any_step: st.SearchStrategy[Step] = st.one_of(
    st.builds(Send, _clients, st.sampled_from(KINDS), st.integers(1, 4), st.booleans()),
    st.builds(Send, _clients, st.just("plain"), st.sampled_from([1, 3, 40, 100])),  # aiohttp parses 32 ahead
    st.builds(Push, _clients, st.just(0) | st.integers(1, 400)),
    st.builds(Turns, st.integers(1, 6)),
    st.builds(Answer, st.integers(1, 5), st.booleans()),
    st.builds(Fail, st.sampled_from([3, 13, 14])),
    st.builds(Expire),
    st.builds(Leave, _clients, st.booleans()),
    st.builds(Open),
)


def request(kind: str, number: int) -> bytes:
    """A request that no other is like, as it goes over the wire."""
    if kind == "status":
        return f"GET /v1/models/m{number} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    path, body, headers = PREDICT, b'{"instances": [%d]}' % number, ["Host: x"]
    if kind == "packed":
        body = b'{"instances": [[%d]]}' % number  # the lane has no columns for such rows
    elif kind == "malformed":
        body = b'{"instances": [%d' % number
    elif kind == "unknown":
        path = f"/v1/models/m{number}:predict"
    elif kind == "compressed answer":
        headers.append("Accept-Encoding: gzip")
    elif kind == "gzip":
        body = gzip.compress(body)
        headers.append("Content-Encoding: gzip")
    if kind == "chunked":
        headers.append("Transfer-Encoding: chunked")
        body = b"5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (body[:5], len(body) - 5, body[5:])
    else:
        headers.append(f"Content-Length: {len(body)}")
    return "\r\n".join([f"POST {path} HTTP/1.1", *headers, "", ""]).encode() + body
