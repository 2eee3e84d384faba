"""Connections: requests that come as a whole go the short way, all others aiohttp's; clients see no difference."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from contextlib import AsyncExitStack

import pytest
from backports import zstd
from front_end_stage import M1, Stage, stage, until
from rest_stage import PREDICT, RawClient, raw_client, served
from worker_side import WorkerSide, on_loop

from frontend.rest.held_request import HELD_SECONDS
from ringserve.options import ServerOptions

ONE = '{"instances": [1]}'


async def answered(on: Stage, worker: WorkerSide, count: int = 1) -> None:
    """So many requests come into the lane, and are answered."""
    await until(lambda: worker.consumer.waiting >= count)
    on.answer(worker, count)


def value(body: bytes) -> float:
    (found,) = json.loads(body)["predictions"]
    return float(found)


def head_of(body: str) -> bytes:
    """As `RawClient.send` writes it."""
    return f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()


async def learned(on: Stage, worker: WorkerSide, client: RawClient) -> None:
    """A first request, which makes its head known."""
    client.send(ONE)
    await answered(on, worker)
    await client.answer()


@on_loop
async def test_what_is_written() -> None:
    async with stage() as on, served(on) as port, raw_client(port) as client:
        _, worker = await on.open()
        client.send(ONE, PREDICT, "X-Request-Id: 7 of nine")
        await answered(on, worker)
        answer = await client.answer()
        assert (answer.status, answer.body) == (200, b'{"predictions":[2.0]}')
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-request-id"] == "7 of nine"
        assert answer.headers["date"].endswith(" GMT")
        stages = [part.partition(";dur=") for part in answer.headers["server-timing"].split(", ")]
        assert [name for name, _, _ in stages] == ["decode", "queue", "run", "encode"]
        assert all(float(ms) >= 0 for _, _, ms in stages)
        assert not {"server", "connection", "access-control-allow-origin"} & answer.headers.keys()


@on_loop
async def test_requests_sent_before_the_first_is_answered() -> None:
    """They are answered in their order, whichever way each goes: the third does not come as a whole."""
    async with stage() as on, served(on) as port, raw_client(port) as client:
        _, worker = await on.open()
        for number in (1, 2):
            client.send(f'{{"instances": [{number}]}}')
        client.writer.write(head_of(ONE))
        for number in (1, 2):
            await until(lambda: worker.consumer.waiting)
            assert worker.consumer.waiting == 1, "the next waits for its turn"
            on.answer(worker)
            assert value((await client.answer()).body) == 2 * number
        client.writer.write(ONE.encode())
        client.send('{"instances": [4]}')
        for expected in (2, 8):
            await answered(on, worker)
            assert value((await client.answer()).body) == expected


@on_loop
@pytest.mark.parametrize("count", [33, 40, 100, 1000])
async def test_many_requests_in_one_piece(count: int) -> None:
    """More than the parser takes at a time: it goes on while they are answered."""
    async with stage() as on, served(on) as port, raw_client(port) as client:
        _, worker = await on.open()
        for number in range(count):
            client.send(f'{{"instances": [{number}]}}')
        for number in range(count):
            await answered(on, worker)
            assert value((await client.answer()).body) == 2 * number
        assert not worker.consumer.waiting


@on_loop
async def test_whole_requests_go_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """With another aiohttp they might not, and nobody else would notice."""

    async def fail(*_: object) -> None:
        raise AssertionError("it went aiohttp's way")

    monkeypatch.setattr("frontend.rest.handler.Handler.handle", fail)
    async with stage() as on, served(on) as port, raw_client(port) as client:
        _, worker = await on.open()
        for _ in range(3):
            client.send(ONE)
            await answered(on, worker)
            assert (await client.answer()).status == 200


@on_loop
async def test_errors_leave_the_connection_open() -> None:
    async with stage() as on, served(on) as port, raw_client(port) as client:
        _, worker = await on.open()
        for body, path, status in (
            ("{", PREDICT, 400),
            ('{"instances": ["x"]}', PREDICT, 400),
            (ONE, "/v1/models/none:predict", 404),
            ("", "/v1/models/m:predict?x", 400),
            ("{}", "/v1/models/m:classify", 400),
        ):
            client.send(body, path)
            answer = await client.answer()
            assert answer.status == status
            assert answer.headers["content-type"] == "application/json"
            assert set(json.loads(answer.body)) == {"error"}
        for _ in range(2):
            client.send(ONE)
        for _ in range(2):
            await answered(on, worker)
            assert (await client.answer()).status == 200
        for number in range(20):  # all in one piece
            client.send("{" if number % 3 else "[]")
        assert [(await client.answer()).status for _ in range(20)] == [400] * 20


@on_loop
async def test_a_worker_s_error() -> None:
    async with stage() as on, served(on) as port, raw_client(port) as client:
        _, worker = await on.open()
        client.send(ONE)
        await until(lambda: worker.consumer.waiting)
        worker.fail(14, b"not now")
        on.bell.ring()
        answer = await client.answer()
        assert (answer.status, json.loads(answer.body)) == (503, {"error": "not now"})
        assert answer.headers["retry-after"] == "1"


@on_loop
async def test_no_answer_in_time() -> None:
    async with stage() as on, served(on, ServerOptions(rest_api_timeout_in_ms=50)) as port, raw_client(port) as client:
        _, worker = await on.open()
        client.send(ONE)
        assert (await client.answer()).status == 504
        assert worker.abandoned(0)
        client.send('{"instances": [3]}')
        await answered(on, worker, 2)
        assert value((await client.answer()).body) == 6, "not the first one's"


@on_loop
async def test_the_first_request_of_a_signature_waits_for_its_lane() -> None:
    async with stage() as on, served(on) as port, raw_client(port) as client:
        await on.serve()
        client.send(ONE)
        client.send('{"instances": [2]}')
        await until(lambda: "want_lane" in on.types())
        worker = on.lane()
        for expected in (2, 4):
            await answered(on, worker)
            assert value((await client.answer()).body) == expected


@on_loop
@pytest.mark.parametrize("opened", [True, False])
async def test_a_client_that_goes_away(opened: bool) -> None:
    """Its place in the lane is free again, and the version is not held, also where the request waits for its lane."""
    async with stage() as on, served(on) as port:
        async with raw_client(port) as client:
            if opened:
                _, worker = await on.open()
            else:
                await on.serve()
            client.send(ONE)
            client.send(ONE)
            await until(lambda: worker.consumer.waiting if opened else "want_lane" in on.types())
        if opened:
            await until(lambda: worker.abandoned(0))
        on.say("retire", servable=M1, call=7)
        await until(lambda: {"type": "answer", "call": 7} in on.told)


@on_loop
async def test_stopping_finishes_what_has_begun() -> None:
    async with stage() as on:
        _, worker = await on.open()
        stopping = asyncio.Event()

        async def serve() -> None:
            async with served(on) as port:
                ports.append(port)
                await stopping.wait()

        ports: list[int] = []
        server = asyncio.create_task(serve())
        await until(lambda: ports)
        async with raw_client(ports[0]) as client, raw_client(ports[0]) as idle:
            idle.send(ONE)
            await answered(on, worker)
            assert (await idle.answer()).status == 200
            client.send(ONE)
            await until(lambda: worker.consumer.waiting)
            stopping.set()
            assert await idle.ended()
            on.answer(worker)
            assert (await client.answer()).status == 200
            assert await client.ended()
            await server


@on_loop
async def test_stopping_does_not_wait_for_ever() -> None:
    async with stage() as on:
        _, worker = await on.open()
        loop = asyncio.get_running_loop()
        async with AsyncExitStack() as stack:
            port = await stack.enter_async_context(served(on, drain=0.2))
            client = await stack.enter_async_context(raw_client(port))
            client.send(ONE)
            await until(lambda: worker.consumer.waiting)
            began = loop.time()
        assert loop.time() - began < 0.39, "once, not twice"
        assert worker.abandoned(0)
        assert await client.ended()


@on_loop
async def test_connections_without_requests_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frontend.rest.connection.KEEP_ALIVE_SECONDS", 0.05)
    async with stage() as on, served(on) as port, raw_client(port) as silent, raw_client(port) as client:
        _, worker = await on.open()
        client.send(ONE)
        await until(lambda: worker.consumer.waiting)
        assert await silent.ended()
        await asyncio.sleep(0.1)  # longer than that: a connection that waits for its answer is not idle
        on.answer(worker)
        assert (await client.answer()).status == 200
        assert await client.ended()


@on_loop
async def test_a_client_that_does_not_read_its_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frontend.rest.stall_watch.STALLED_SECONDS", 0.1)
    async with stage() as on, served(on) as port, raw_client(port) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        lost = False
        for _ in range(8000):
            client.send(ONE, "/v1/models/" + "n" * 4000 + ":predict")  # the error repeats the name
            try:
                await asyncio.wait_for(client.writer.drain(), 5)
            except ConnectionError:
                lost = True
                break
        assert lost, "the connection is cut, and nothing is kept for this client"


@on_loop
@pytest.mark.parametrize("begun", [b"", b'{"inst'])
async def test_a_body_that_does_not_come(begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frontend.rest.request_reader.BODY_SECONDS", 0.05)
    async with stage() as on, served(on) as port, raw_client(port) as client:
        await on.open()
        client.writer.write(f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n".encode() + begun)
        answer = await client.answer()
        assert answer.status == 408
        assert "incomplete" in json.loads(answer.body)["error"]


@on_loop
@pytest.mark.parametrize("content_type", ["application/json", "application/x-npy"])
async def test_bodies_that_together_would_take_too_much(content_type: str) -> None:
    """Each is within the limit: four at a time have room, the fifth has not, until one of them is gone."""
    size = 1 << 20
    async with AsyncExitStack() as stack:
        on = await stack.enter_async_context(stage())
        port = await stack.enter_async_context(served(on, ServerOptions(max_request_bytes=size)))
        await on.open()
        clients = [await stack.enter_async_context(raw_client(port)) for _ in range(5)]

        def begin(client: RawClient) -> None:
            lines = (
                f"POST {PREDICT} HTTP/1.1",
                "Host: x",
                f"Content-Type: {content_type}",
                f"Content-Length: {size}",
                "",
                "",
            )
            client.writer.write("\r\n".join(lines).encode() + b" " * (size - 1))

        for client in clients:
            begin(client)
        answers = [asyncio.create_task(client.answer()) for client in clients]
        done, rest = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
        (refused,) = done
        assert (refused.result().status, refused.result().headers["retry-after"]) == (503, "1")
        for client in clients:
            client.writer.write(b" ")
        done, _ = await asyncio.wait(rest)
        assert [answer.result().status for answer in done] == [400] * 4
        again = await stack.enter_async_context(raw_client(port))
        begin(again)
        again.writer.write(b" ")
        assert (await again.answer()).status == 400


@on_loop
@pytest.mark.parametrize(
    ("version", "header", "connection"),
    [
        ("1.0", "X: y", "close"),
        ("1.0", "Connection: keep-alive", "keep-alive"),
        ("1.1", "Connection: close", "close"),
        ("1.1", "Connection: keep-alive", None),
    ],
)
async def test_who_closes_the_connection(version: str, header: str, connection: str | None) -> None:
    async with stage() as on, served(on) as port, raw_client(port) as client:
        _, worker = await on.open()
        client.send(ONE, PREDICT, header, version=version)
        await answered(on, worker)
        answer = await client.answer()
        assert (answer.status, answer.headers.get("connection")) == (200, connection)
        if connection == "close":
            assert await client.ended()


@on_loop
@pytest.mark.parametrize(("accepted", "coding"), [("gzip, deflate", "gzip"), ("gzip;q=0.5, zstd", "zstd"), ("br", None)])
@pytest.mark.parametrize("rows", [16, 300])
async def test_compressed_answers(accepted: str, coding: str | None, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only large ones; the largest in a thread."""
    monkeypatch.setattr("frontend.rest.compression.SMALLEST", 200)
    monkeypatch.setattr("frontend.rest.connection.MOST_AT_ONCE", 400)
    async with stage() as on, served(on) as port, raw_client(port) as client:
        _, worker = await on.open()
        for count in (1, rows):
            client.send(json.dumps({"instances": [0.25] * count}), PREDICT, f"Accept-Encoding: {accepted}")
            await answered(on, worker)
            answer = await client.answer()
            found = answer.headers.get("content-encoding")
            size = len('{"predictions":[]}') + 4 * count - 1
            assert found == (coding if size >= 200 else None)
            if found:
                assert answer.headers["vary"] == "Accept-Encoding"
            body = {"gzip": gzip.decompress, "zstd": zstd.decompress, None: bytes}[found](answer.body)  # type: ignore[operator]
            assert json.loads(body) == {"predictions": [0.5] * count}


@on_loop
@pytest.mark.parametrize(("rows", "heavy"), [(3, 1 << 20), (3, 4), (3, 0)])
async def test_heavy_bodies_and_answers(rows: int, heavy: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are decoded and encoded in a thread; requests and clients notice nothing."""
    monkeypatch.setattr("frontend.rest.exchange.HEAVY", heavy)
    monkeypatch.setattr("frontend.heavy_work.HEAVY", heavy)
    async with stage() as on, served(on) as port, raw_client(port) as client:
        _, worker = await on.open()
        for number in range(5):
            client.send(json.dumps({"instances": [number] * rows}))
        client.send("{")
        for number in range(5):
            await answered(on, worker)
            assert json.loads((await client.answer()).body) == {"predictions": [2.0 * number] * rows}
        assert (await client.answer()).status == 400


@on_loop
@pytest.mark.parametrize("target", ["http://host:80", "HTTPS://host"])
async def test_targets_that_name_their_server(target: str) -> None:
    async with stage() as on, served(on) as port, raw_client(port) as client:
        _, worker = await on.open()
        client.send(ONE, target + PREDICT)
        await answered(on, worker)
        assert value((await client.answer()).body) == 2


@on_loop
@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
async def test_compressed_bodies(coding: str) -> None:
    compress = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd.compress}[coding]
    async with stage() as on, served(on, ServerOptions(max_request_bytes=1000)) as port, raw_client(port) as client:
        _, worker = await on.open()
        client.send(compress(ONE.encode()), PREDICT, f"Content-Encoding: {coding}")  # type: ignore[operator]
        await answered(on, worker)
        assert value((await client.answer()).body) == 2
        client.send(compress(b" " * 1_000_000), PREDICT, f"Content-Encoding: {coding}")  # type: ignore[operator]
        assert (await client.answer()).status == 413


@on_loop
async def test_what_is_no_http() -> None:
    async with stage() as on, served(on) as port:
        for text in (b"\x16\x03\x01\x00\xa5\r\n\r\n", b"GET /v1/models/m HTTP/9.9\r\n\r\n", b"POST\r\n\r\n"):
            async with raw_client(port) as client:
                client.writer.write(text)
                answer = await client.answer()
                assert answer.status == 400
                assert answer.headers["content-type"] == "text/html"
                assert b"400 Bad Request" in answer.body
                assert await client.ended()


@on_loop
@pytest.mark.parametrize("verb", ["FOO", "post", "X", "TRACE"])
async def test_verbs_that_there_are_not(verb: str) -> None:
    async with stage() as on, served(on) as port, raw_client(port) as client:
        client.send("", "/v1/models/m", method=verb)
        answer = await client.answer()
        assert (answer.status, answer.headers["content-type"]) == (501, "text/html")


@on_loop
async def test_cors() -> None:
    options = ServerOptions(rest_api_enable_cors_support=True)
    for given, expected in ((options, "*"), (ServerOptions(), None)):
        async with stage() as on, served(on, given) as port, raw_client(port) as client:
            _, worker = await on.open()
            client.send(ONE)
            await answered(on, worker)
            client_send = [("GET", "/v1/models/none"), ("POST", "/v1/models/x"), ("OPTIONS", "/v1/x")]
            answers = [await client.answer()]
            for method, path in client_send:
                client.send("", path, "Origin: http://a", method=method)
                answers.append(await client.answer())
            assert [answer.status for answer in answers] == [200, 404, 400, 200]
            for answer in answers:
                assert answer.headers.get("access-control-allow-origin") == expected
                assert answer.headers.get("access-control-allow-methods") == ("POST, GET" if expected else None)


async def counted(client: RawClient, on: Stage) -> dict[tuple[str, ...], int]:
    return {labels: words[0] for family, labels, words in on.counters.read() if family == "requests"}


@on_loop
async def test_every_request_is_counted() -> None:
    async with stage() as on, served(on) as port, raw_client(port) as client:
        _, worker = await on.open()
        client.send(ONE)
        await answered(on, worker)
        await client.answer()
        for body, path in (("{", PREDICT), (ONE, "/v1/models/none:predict"), ("", "/v1/models/m/x")):
            client.send(body, path)
            await client.answer()
        client.send("", "/v1/x", method="OPTIONS")
        await client.answer()
        assert await counted(client, on) == {
            ("m", "1", "serving_default", "predict", "REST", "OK"): 1,
            ("m", "", "", "predict", "REST", "INVALID_ARGUMENT"): 1,
            ("none", "", "", "predict", "REST", "NOT_FOUND"): 1,
            ("", "", "", "", "REST", "INVALID_ARGUMENT"): 1,
            ("", "", "", "", "REST", "FAILED_PRECONDITION"): 1,
        }


@on_loop
async def test_a_body_behind_its_head() -> None:
    """As many clients send it: in a piece of its own. The first request makes the head known."""
    async with stage() as on, served(on) as port, raw_client(port) as client:
        _, worker = await on.open()
        for number in range(10, 15):
            body = f'{{"instances": [{number}]}}'
            client.writer.write(head_of(body))
            await client.writer.drain()
            await asyncio.sleep(0)
            client.writer.write(body.encode())
            await answered(on, worker)
            assert value((await client.answer()).body) == 2 * number


@on_loop
async def test_a_slow_body_behind_a_known_head() -> None:
    """It is held no longer than a moment; what then comes is the parser's, also the next request's beginning."""
    async with stage() as on, served(on) as port, raw_client(port) as client:
        _, worker = await on.open()
        await learned(on, worker, client)
        client.writer.write(head_of(ONE) + ONE[:5].encode())
        await asyncio.sleep(3 * HELD_SECONDS)  # a client that is slow: this is no wait for a condition
        client.writer.write(ONE[5:].encode())
        client.send('{"instances": [3]}')
        for expected in (2, 6):
            await answered(on, worker)
            assert value((await client.answer()).body) == expected


@on_loop
async def test_a_client_that_leaves_in_the_middle_of_a_known_request() -> None:
    async with stage() as on, served(on) as port:
        _, worker = await on.open()
        async with raw_client(port) as client:
            await learned(on, worker, client)
            client.writer.write(head_of(ONE) + ONE[:5].encode())
        async with raw_client(port) as client:
            client.send(ONE)
            await answered(on, worker)
            assert value((await client.answer()).body) == 2
        assert worker.consumer.waiting == 0


@on_loop
async def test_a_known_head_with_more_than_its_body() -> None:
    """Two requests in one piece, whose head is known."""
    async with stage() as on, served(on) as port, raw_client(port) as client:
        _, worker = await on.open()
        await learned(on, worker, client)
        client.send('{"instances": [3]}')
        client.send('{"instances": [4]}')
        for expected in (6, 8):
            await answered(on, worker)
            assert value((await client.answer()).body) == expected
