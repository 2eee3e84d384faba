"""From messages to requests: which are alike, which go together, and what each asks for."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

import msgpack

from frontend import model_facts
from frontend.bodies.arrays import QUICK_STRINGS, invalid
from frontend.bodies.body_options import BodyOptions
from frontend.bodies.message_reader import has_many_strings, read_message
from frontend.bodies.tensor_message import TensorRequest, identifier_of, kind_of, request_of
from frontend.failure import as_serving_error
from frontend.front_end import FrontEnd
from frontend.heavy_work import in_thread
from frontend.tensors import Array
from frontend.zmq.bodies import ClassifyBody, PredictBody, RegressBody, limit_size
from frontend.zmq.burst import Burst, matrix_of
from frontend.zmq.each import EachRequest
from frontend.zmq.exchange import Exchange
from frontend.zmq.group import FEW, AlikeRequests
from frontend.zmq.pattern import Pattern, Patterns
from frontend.zmq.pattern_body import PatternBody
from frontend.zmq.reply import (
    Count,
    Replies,
    Reply,
    SharedReply,
    SingleReplies,
    SingleReply,
    VariousReplies,
    error_message,
    fact_message,
)
from frontend.zmq.router import Router
from ringserve.errors import Code, ServingError
from ringserve.options import ServerOptions

_MOST_TOGETHER: Final = 1 << 16  # requests of one message
_AT_ONCE: Final = 1024  # of those that are looked at in one turn of the loop
_MAPS: Final = frozenset((*range(0x80, 0x90), 0xDE, 0xDF))  # first bytes
_ARRAYS: Final = frozenset(bytes((first,)) for first in (*range(0x90, 0xA0), 0xDC, 0xDD))
_STOPPING: Final = ServingError(Code.UNAVAILABLE, "The server is stopping")
_BEHIND: Final = ServingError(Code.RESOURCE_EXHAUSTED, "The client does not take the answers to its requests before")
_EXAMPLES: Final[dict[str, type[ClassifyBody] | type[RegressBody]]] = {"classify": ClassifyBody, "regress": RegressBody}


class Dispatcher:
    """Takes the messages of one burst after the other; `flush` at the end of each."""

    def __init__(self, front_end: FrontEnd, router: Router, options: ServerOptions) -> None:
        self.stopping = False
        self.count = Count()
        self._front_end = front_end
        self._router = router
        self._options = BodyOptions(options.max_request_bytes, options.enable_signature_method_name_check)
        self._timeout = max(options.rest_api_timeout_in_ms, 0) * 1_000_000
        self._patterns = Patterns()
        self._alike: dict[Pattern, tuple[list[bytes], list[Reply]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, identity: bytes, delimited: bool, header: bytes, frames: Sequence[memoryview]) -> None:
        """A message has come. Raises nothing."""
        router = self._router
        is_behind = bool(router.behind) and identity in router.behind and router.is_behind(identity)
        if header[:1] in _ARRAYS:
            self._take_several(identity, delimited, header, frames, is_behind)
        else:
            self._take_one(header, frames, SingleReply(router, identity, delimited, self.count), is_behind)

    def take_burst(self, identities: Sequence[bytes], headers: Sequence[bytes]) -> None:
        """Messages of one part each have come. Raises nothing."""
        if len(headers) >= FEW and not self._router.behind and len(set(map(len, headers))) == 1:
            burst = self._burst(matrix_of(b"".join(headers), len(headers)))
            replies = SingleReplies(self._router, identities, self.count)
            if burst is not None and self._go_together(burst, replies, replies.expect):
                return
        for identity, header in zip(identities, headers, strict=True):
            self.take(identity, False, header, ())

    def flush(self) -> None:
        """Requests that are alike go together. Raises nothing."""
        alike, self._alike = self._alike, {}
        for pattern, (messages, replies) in alike.items():
            if len(messages) >= FEW and self._go_together(Burst.of(pattern, messages), VariousReplies(replies), _nothing):
                continue
            for message, reply in zip(messages, replies, strict=True):
                self._predict_alike(pattern, message, reply)

    def _burst(self, matrix: Array) -> Burst | None:
        """Of messages of one length, as the rows of a matrix, if they are of one pattern that is known."""
        if not self.stopping:
            for pattern in self._patterns.of_length(matrix.shape[1]):
                if pattern.matches_all(matrix):
                    return Burst(pattern, matrix)
        return None

    def _go_together(self, burst: Burst, replies: Replies, expect: Callable[[], None]) -> bool:
        """False: they have to be made one by one, for which nothing was done."""
        try:
            return AlikeRequests(self._front_end, burst, replies, self._options, self._timeout).begin(expect)
        except Exception as error:
            as_serving_error(error)  # is logged; they may do better alone
            return False

    def _take_several(
        self, identity: bytes, delimited: bool, header: bytes, frames: Sequence[memoryview], is_behind: bool
    ) -> None:
        shared = SharedReply(self._router, identity, delimited, self.count)
        count, at = _array_head(header)
        if count >= FEW and not frames and not is_behind and (len(header) - at) % count == 0:
            burst = self._burst(matrix_of(header, count, at))
            if burst is not None and self._go_together(burst, shared, functools.partial(shared.expect, count)):
                return
        try:
            messages = _split(header)
        except ServingError as error:
            self._refuse(None, error, SingleReply(self._router, identity, delimited, self.count))
            return
        shared.expect(len(messages))
        self._take_some(messages, 0, frames, shared, is_behind)

    def _take_some(
        self, messages: Sequence[bytes], begin: int, frames: Sequence[memoryview], reply: Reply, is_behind: bool
    ) -> None:
        """Of very many, others have their turns in between."""
        end = begin + _AT_ONCE
        for message in messages[begin:end]:
            self._take_one(message, frames, reply, is_behind)
        if begin:
            self.flush()
        if end < len(messages):
            asyncio.get_running_loop().call_soon(self._take_some, messages, end, frames, reply, is_behind)

    def _take_one(self, message: bytes, frames: Sequence[memoryview], reply: Reply, is_behind: bool) -> None:
        if self.stopping or is_behind:
            self._refuse(_identifier(message), _STOPPING if self.stopping else _BEHIND, reply)
            return
        pattern = None if frames else self._patterns.find(message)
        if pattern is not None:
            messages, replies = self._alike.setdefault(pattern, ([], []))
            messages.append(message)
            replies.append(reply)
            return
        if len(message) > QUICK_STRINGS and message[0] in _MAPS and _is_slow(message):
            self._work(self._read_in_thread(message, frames, reply))
            return
        try:
            fields = read_message(message, self._options.most_bytes)
        except Exception as error:
            self._refuse(None, error, reply)
            return
        self._begin(message, fields, frames, reply)

    async def _read_in_thread(self, message: bytes, frames: Sequence[memoryview], reply: Reply) -> None:
        try:
            fields = await in_thread(read_message, message, self._options.most_bytes)
        except Exception as error:
            self._refuse(None, error, reply)
            return
        self._begin(message, fields, frames, reply)

    def _begin(self, message: bytes, fields: Any, frames: Sequence[memoryview], reply: Reply) -> None:
        """Raises nothing."""
        identifier = None
        try:
            if not isinstance(fields, dict):
                raise invalid(f"the message is a {kind_of(fields)}; expected a map, or an array of maps")
            identifier = identifier_of(fields)
            call = fields.get("call")
            if call is None or call == "predict":
                request = request_of(fields, self._options.most_bytes, frames)
                if frames or len(message) > self._options.most_bytes:
                    limit_size(request, self._options.most_bytes)
                if fields.get("each"):
                    self._each(request, fields["each"], reply)
                    return
                if not frames:
                    self._patterns.note(message, request)
                self._predict(request, reply)
            elif isinstance(call, str) and call in _EXAMPLES:
                self._examples(call, fields, identifier, reply)
            else:
                self._tell(fields, identifier, reply)
        except Exception as error:
            self._refuse(identifier, error, reply)

    def _predict(self, request: TensorRequest, reply: Reply) -> None:
        exchange = Exchange(self._front_end, "predict", self._timeout, request.identifier, reply)
        try:
            body = PredictBody(request, self._options)
        except ServingError as error:
            exchange.refuse(error)
        else:
            exchange.begin(body, request.timeout, request.low)

    def _predict_alike(self, pattern: Pattern, message: bytes, reply: Reply) -> None:
        body = PatternBody(pattern, message, self._options)
        exchange = Exchange(self._front_end, "predict", self._timeout, body.identifier, reply)
        exchange.begin(body, pattern.request.timeout, pattern.request.low)

    def _each(self, request: TensorRequest, each: Any, reply: Reply) -> None:
        timeout, own = self._timeout, request.timeout
        if own is not None and (own < timeout or not timeout):
            timeout = own
        EachRequest(self._front_end, request, self._options, timeout, time.monotonic_ns()).begin(each, reply, self._work)

    def _examples(self, call: str, fields: Mapping[str, Any], identifier: Any, reply: Reply) -> None:
        exchange = Exchange(self._front_end, call, self._timeout, identifier, reply)
        try:
            asked = request_of({**fields, "inputs": []}, 0)
            body = _EXAMPLES[call](fields, self._options)
        except ServingError as error:
            exchange.refuse(error)
        else:
            exchange.begin(body, asked.timeout, asked.low)

    def _tell(self, fields: Mapping[str, Any], identifier: Any, reply: Reply) -> None:
        """What is asked about models. Raises ServingError (UNIMPLEMENTED) for a call that there is not."""
        began = time.monotonic_ns()
        call = model_facts.call_of(fields)
        try:
            answer = fact_message(identifier, model_facts.answer(self._front_end.catalog, fields, self.stopping))
        except Exception as error:
            self._refuse(identifier, error, reply, call)
            return
        self._front_end.counters.meter("", None, "", call, "ZMQ").ok(0, 0, time.monotonic_ns() - began)
        reply((answer,))

    def _refuse(self, identifier: Any, error: Exception, reply: Reply, call: str = "predict") -> None:
        """A message that asks for nothing that is known."""
        serving = as_serving_error(error)
        self._front_end.counters.meter("", None, "", call, "ZMQ").failed(serving.code, 0)
        reply((error_message(identifier, serving),))

    def _work(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _is_slow(message: bytes) -> bool:
    try:
        return has_many_strings(message, QUICK_STRINGS)
    except ServingError:  # whoever reads it will say so
        return False


def _identifier(message: bytes) -> Any:
    try:
        return identifier_of(read_message(message, 1 << 20))
    except Exception:  # a message that nobody can read, at the end of all
        return None


def _nothing() -> None:
    """They are expected already."""


def _array_head(header: bytes) -> tuple[int, int]:
    """How many values an array has, and where they begin; nothing is known of them yet. 0 where it ends too early."""
    if header[0] < 0xDC:
        return header[0] & 0xF, 1
    at = 3 if header[0] == 0xDC else 5
    count = int.from_bytes(header[1:at], "big")
    return (count, at) if count <= min(len(header) - at, _MOST_TOGETHER) else (0, at)


def _split(header: bytes) -> list[bytes]:
    """The messages of an array. Raises ServingError (INVALID_ARGUMENT)."""
    unpacker = msgpack.Unpacker(max_buffer_size=len(header))
    unpacker.feed(header)
    try:
        count = unpacker.read_array_header()
        if not 0 < count <= _MOST_TOGETHER:
            raise invalid(f"the message is an array of {count}; expected 1 to {_MOST_TOGETHER} maps")
        messages = []
        begin = unpacker.tell()
        for _ in range(count):
            unpacker.skip()
            end = unpacker.tell()
            messages.append(header[begin:end])
            begin = end
    except (ValueError, msgpack.UnpackException) as error:
        text = str(error) or type(error).__name__
        raise invalid(f"the message is no array of MessagePack maps ({text})") from None
    if begin != len(header):
        raise invalid(f"the message has {len(header) - begin} bytes after its array of maps")
    return messages
