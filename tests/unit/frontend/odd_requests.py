"""Requests that are odd in one way or another, and the pieces in which they come to a connection; for tests."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from hypothesis import strategies as st

PREDICT: Final = "/v1/models/m:predict"
CLIENTS: Final = 2


def body(number: int, width: int = 0) -> bytes:
    """Heads of requests with such bodies are the same."""
    return b'{"instances": [%5d]}' % number + b" " * width


def sized(content: bytes, *headers: str, path: str = PREDICT, verb: str = "POST", version: str = "1.1") -> bytes:
    lines = (f"{verb} {path} HTTP/{version}", "Host: x", f"Content-Length: {len(content)}", *headers, "", "")
    return "\r\n".join(lines).encode() + content


def bare(content: bytes, *headers: str, path: str = PREDICT, verb: str = "POST") -> bytes:
    return "\r\n".join((f"{verb} {path} HTTP/1.1", "Host: x", *headers, "", "")).encode() + content


#: Requests by what is unusual about them, if anything is.
KINDS: Final[dict[str, Callable[[int], bytes]]] = {
    "plain": lambda n: sized(body(n)),
    "json": lambda n: sized(body(n), "Content-Type: application/json"),
    "longer": lambda n: sized(body(n, 150)),
    "kept": lambda n: sized(body(n), "Connection: keep-alive"),
    "named": lambda n: sized(body(n), f"X-Request-Id: {n}"),
    "unknown": lambda n: sized(body(n), path="/v1/models/other:predict"),
    "malformed": lambda n: sized(b'{"instances": [%5d' % n),
    "no body": lambda n: bare(b""),
    "empty": lambda n: sized(b""),
    "zeros": lambda n: bare(body(n), f"Content-Length: 00{len(body(n))}"),
    "blanks": lambda n: bare(body(n), f"Content-Length:   {len(body(n))} "),
    "folded": lambda n: sized(body(n), "X-Long: a\r\n b"),
    "lower": lambda n: bare(body(n), f"content-length: {len(body(n))}"),
    "chunked": lambda n: bare(b"14\r\n%b\r\n0\r\n\r\n" % body(n), "Transfer-Encoding: chunked"),
    "trailers": lambda n: bare(b"14\r\n%b\r\n0\r\nX-T: 1\r\n\r\n" % body(n), "Transfer-Encoding: chunked"),
    "gzip": lambda n: sized(gzip.compress(body(n), mtime=0), "Content-Encoding: gzip"),
    "status": lambda n: bare(b"", path="/v1/models/other", verb="GET"),
    "status with a body": lambda n: sized(sized(body(n)), path="/v1/models/other", verb="GET"),
    "no page": lambda n: sized(body(n), path="/other"),
    "expects": lambda n: sized(body(n), "Expect: 100-continue"),
    "a line before": lambda n: b"\r\n" + sized(body(n)),
    "lines before": lambda n: b"\r\n\r\n" + sized(body(n)),
    "lines before a longer": lambda n: b"\r\n\r\n" + sized(body(n, 300)),
    "lines before a request within": lambda n: b"\r\n\r\n" + sized(b" " * 30 + sized(body(n)) + sized(body(n, 150))),
    "a line behind": lambda n: sized(body(n)) + b"\r\n",
    "a request within": lambda n: sized(sized(body(n))),
    "requests within": lambda n: sized(body(n) + sized(body(n)) * 3),
    "too short": lambda n: sized(body(n))[:-5],
    "too long": lambda n: sized(body(n)) + b"xxx",
    "closes": lambda n: sized(body(n), "Connection: close"),
    "old": lambda n: sized(body(n), version="1.0"),
    "old, kept": lambda n: sized(body(n), "Connection: keep-alive", version="1.0"),
    "h2c": lambda n: sized(body(n), "Connection: Upgrade", "Upgrade: h2c"),
    "websocket": lambda n: sized(body(n), "Connection: Upgrade", "Upgrade: websocket"),
    "garbage": lambda n: b"\x00\x01garbage\r\n\r\n",
    "line feeds": lambda n: sized(body(n)).replace(b"\r\n", b"\n"),
    "a line feed at the end": lambda n: sized(body(n)).replace(b"\r\n\r\n", b"\r\n\n"),
    "nul": lambda n: sized(body(n), "X-N: a\0b"),
    "two lengths": lambda n: sized(body(n), "Content-Length: 3"),
    "chunked and sized": lambda n: sized(body(n), "Transfer-Encoding: chunked"),
    "signed": lambda n: bare(body(n), f"Content-Length: +{len(body(n))}"),
    "long": lambda n: sized(body(n), f"X-Long: {'x' * 3000}"),
    "too long a head": lambda n: sized(body(n), f"X-Long: {'x' * 9000}"),
}
#: After which the parser takes nothing more, or something else. Of whole requests that come before such bytes in one piece
#: aiohttp makes nothing, unless it has parsed 32 ahead and stopped in between: that is, by chance.
ENDS: Final = frozenset(
    (
        *("too short", "too long", "closes", "old", "h2c", "websocket", "garbage", "line feeds", "a line feed at the end"),
        *("nul", "two lengths", "chunked and sized", "signed", "too long a head"),
    )
)
USUAL: Final = ("plain", "json", "longer", "kept", "unknown", "malformed", "no body")


class Send(NamedTuple):
    """A request of this kind, cut at these places from its beginning, or from its body's; the last piece is kept back to be
    one with the next request, if it is `glued`.
    """

    client: int
    kind: str
    cuts: tuple[int, ...]
    behind_head: bool
    glued: bool


class Burst(NamedTuple):
    """So many plain requests, each a piece."""

    client: int
    how_many: int


class Turns(NamedTuple):
    """Of the event loop."""

    how_many: int


class Answer(NamedTuple):
    """The worker answers so many requests."""

    how_many: int


class Hear(NamedTuple):
    """The worker answers a request, and what comes next comes at once when this client has got an answer, if it gets one."""

    client: int


class Late(NamedTuple):
    """Bodies that are waited for have come too late."""

    client: int


class Stall(NamedTuple):
    """A client stops to take its answers, or goes on."""

    client: int
    stalls: bool


Step = Send | Burst | Turns | Answer | Hear | Late | Stall
_clients = st.integers(0, CLIENTS - 1)
_cuts = st.lists(st.integers(0, 30) | st.integers(0, 400), max_size=3).map(lambda cuts: tuple(sorted(cuts)))
_behind_head = st.sampled_from([True, True, False])
_usual_step: st.SearchStrategy[Step] = st.one_of(
    st.builds(Send, _clients, st.sampled_from(USUAL), st.just(()), st.just(True), st.just(False)),
    st.builds(Send, _clients, st.sampled_from(USUAL), st.just((0,)), st.just(True), st.just(False)),
    st.builds(Send, _clients, st.sampled_from(USUAL), _cuts, _behind_head, st.booleans()),
    st.builds(Turns, st.integers(1, 4)),
    st.builds(Turns, st.just(12)),
    st.builds(Answer, st.integers(1, 3)),
    st.builds(Hear, _clients),
    st.builds(Late, _clients),
    st.builds(Stall, _clients, st.booleans()),
)


def _sends(kinds: Iterable[str]) -> st.SearchStrategy[Step]:
    return st.builds(Send, _clients, st.sampled_from(sorted(kinds)), _cuts, _behind_head, st.booleans())


any_steps: st.SearchStrategy[list[Step]] = st.one_of(
    st.lists(_usual_step | _sends(KINDS), min_size=1, max_size=25),
    st.lists(
        _usual_step | _sends(KINDS.keys() - ENDS) | st.builds(Burst, _clients, st.sampled_from([2, 3, 33, 40])),
        min_size=1,
        max_size=25,
    ),
)


def pieces(data: bytes, cuts: Sequence[int], behind_head: bool) -> list[bytes]:
    """What `Send` says."""
    start = data.find(b"\r\n\r\n") + 4 if behind_head else 0
    places = [0, *(min(start + cut, len(data)) for cut in cuts), len(data)]
    return [data[begin:end] for begin, end in pairwise(places)]
