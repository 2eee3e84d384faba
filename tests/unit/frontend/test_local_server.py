"""Local clients: what they are told, the lanes they get, and when these go."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import pytest
from front_end_stage import until
from local_stage import MOST_REQUEST_BYTES, OPEN, LocalStage, open_files, play
from made_signatures import signature, spec

import frontend.local.client
import frontend.local.server
from ringserve import __version__
from ringserve.errors import Code
from ringserve.servable import ServableId
from ringserve.signature import DEFAULT_SIGNATURE


def test_hello_is_answered_with_the_servers_version() -> None:
    async def script(on: LocalStage) -> None:
        assert await on.connect().hello() == {"type": "welcome", "v": 1, "server": f"ringserve {__version__}"}

    play(script)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"type": "hello", "v": 2, "pid": 1}, Code.UNIMPLEMENTED),
        ({"type": "hello"}, Code.UNIMPLEMENTED),
        ({"type": "ask", "call": 1, "question": {"call": "models"}}, Code.INVALID_ARGUMENT),
        ({}, Code.INVALID_ARGUMENT),
    ],
)
def test_who_does_not_say_hello_is_told_so_and_let_go(message: dict[str, Any], code: Code) -> None:
    async def script(on: LocalStage) -> None:
        client = on.connect()
        await client.send(message)
        answer = await client.message()
        assert (answer["type"], answer["code"]) == ("error", code)
        await client.end()

    play(script)


def test_who_says_nothing_is_let_go_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontend.local.client, "_HELLO_SECONDS", 0.01)

    async def script(on: LocalStage) -> None:
        client = on.connect()
        await client.end()
        assert not on.server.clients

    play(script)


def test_who_has_said_hello_may_be_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontend.local.client, "_HELLO_SECONDS", 0.01)

    async def script(on: LocalStage) -> None:
        talking, silent = await on.client(), on.connect()
        await silent.end()  # so the time is over for both
        await talking.send({"type": "ask", "call": 1, "question": {"call": "models"}})
        assert (await talking.message())["type"] == "told"

    play(script)


def test_questions_are_answered_as_over_zeromq() -> None:
    async def script(on: LocalStage) -> None:
        client = await on.client()
        await on.front.serve()
        on.front.say("models", names=["m"])
        await on.front.heard()
        await client.send(
            {"type": "ask", "call": 7, "question": {"v": 1, "id": b"1", "call": "models"}},
            {"type": "ask", "call": 8, "question": {"call": "status", "model": "none"}},
            {"type": "ask", "call": 9, "question": None},
            {"type": "ask", "call": 10, "question": {"call": "metadata", "model": "m", "id": [1]}},
        )
        assert await client.message() == {"type": "told", "call": 7, "answer": {"v": 1, "id": b"1", "models": ["m"]}}
        text = "Could not find any versions of model none"
        assert await client.message() == {"type": "error", "call": 8, "code": Code.NOT_FOUND, "error": text}
        assert (await client.message())["code"] == Code.INVALID_ARGUMENT
        told = await client.message()
        assert (told["answer"]["id"], told["answer"]["version"]) == (None, 1)

    play(script)


def test_a_lane_is_ordered_and_handed_over() -> None:
    async def script(on: LocalStage) -> None:
        client = await on.client()
        await on.front.serve()
        await client.send({**OPEN, "call": 3, "inputs": [[1, "<f4", [2, 3]]]})
        columns = [[[1, "<f4", [2, 3]]], [[1, "<f4", []]]]
        number, bell = await on.make_lane(columns=columns)
        message, (segment, end) = await client.receive()
        specs = {
            "method": "tensorflow/serving/predict",
            "inputs": {"x": ["x:0", 1, [-1]]},
            "outputs": {"y": ["y:0", 1, [-1]]},
        }
        assert message == {
            "type": "lane",
            "call": 3,
            "lane": number,
            "model": "m",
            "version": 1,
            "signature": DEFAULT_SIGNATURE,
            "columns": columns,
            "ring_bytes": MOST_REQUEST_BYTES,
            "most_rows": 7,
            "specs": specs,
        }
        assert os.fstat(segment).st_size > MOST_REQUEST_BYTES
        os.write(end, b"\0")
        assert bell.recv(8) == b"\0"
        os.close(segment)
        os.close(end)
        assert bell.recv(8) == b""  # the server has no part in it
        bell.close()

    play(script)


def test_the_order_names_version_signature_and_rows() -> None:
    async def script(on: LocalStage) -> None:
        client = await on.client()
        await on.front.serve()
        await client.send({**OPEN, "call": 3, "version": 1, "signature": "", "inputs": [[1, "<f4", [4]]]})
        order = await on.order()
        del order["call"]
        wanted = {"servable": ["m", 1], "signature": DEFAULT_SIGNATURE, "inputs": [[1, "<f4", [4]]]}
        assert order == {"type": "local_lane", **wanted}

    play(script)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"model": "none"}, Code.NOT_FOUND),
        ({"model": ""}, Code.INVALID_ARGUMENT),
        ({"model": 7}, Code.INVALID_ARGUMENT),
        ({"version": 9}, Code.NOT_FOUND),
        ({"version": -1}, Code.INVALID_ARGUMENT),
        ({"label": "none"}, Code.INVALID_ARGUMENT),
        ({"signature": "none"}, Code.FAILED_PRECONDITION),
        ({"signature": 7}, Code.INVALID_ARGUMENT),
        ({"inputs": []}, Code.INVALID_ARGUMENT),
        ({"inputs": [[1, "<f4", [1 << 30]]]}, Code.INVALID_ARGUMENT),
    ],
)
def test_what_cannot_be_opened(asked: dict[str, Any], code: Code) -> None:
    async def script(on: LocalStage) -> None:
        client = await on.client()
        version = await on.front.serve()
        await client.send({**OPEN, "call": 3, **asked})
        answer = await client.message()
        assert (answer["type"], answer["call"], answer["code"]) == ("error", 3, code)
        assert "local_lane" not in on.front.types()
        on.front.say("retire", servable=version.id, call=5)
        await until(lambda: {"type": "answer", "call": 5} in on.front.told)  # nothing holds the version

    play(script)


def test_the_supervisors_refusal_is_the_clients() -> None:
    async def script(on: LocalStage) -> None:
        client = await on.client()
        await on.front.serve()
        await client.send({**OPEN, "call": 3})
        order = await on.order()
        on.front.say("told", call=order["call"], code=int(Code.UNAVAILABLE), message="No worker")
        assert await client.message() == {"type": "error", "call": 3, "code": Code.UNAVAILABLE, "error": "No worker"}
        on.front.say("retire", servable=["m", 1], call=5)
        await until(lambda: {"type": "answer", "call": 5} in on.front.told)

    play(script)


def test_a_closed_lane_is_dropped_and_lets_its_version_go() -> None:
    async def script(on: LocalStage) -> None:
        client = await on.client()
        await on.front.serve()
        number, bell, _ = await on.open(client)
        on.front.say("retire", servable=["m", 1], call=5)
        assert await client.message() == {"type": "retire", "lane": number}
        assert {"type": "answer", "call": 5} not in on.front.told
        await client.send({"type": "close", "lane": number + 1}, {"type": "close"}, {"type": "close", "lane": number})
        assert await on.dropped() == number
        await until(lambda: {"type": "answer", "call": 5} in on.front.told)
        bell.close()

    play(script)


def test_a_client_that_does_not_give_up_a_lane_loses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontend.local.client, "_GIVE_UP_SECONDS", 0.01)

    async def script(on: LocalStage) -> None:
        client = await on.client()
        await on.front.serve()
        number, bell, _ = await on.open(client)
        on.front.say("retire", servable=["m", 1], call=5)
        assert await on.dropped() == number
        await until(lambda: {"type": "answer", "call": 5} in on.front.told)
        bell.close()

    play(script)


def test_lanes_to_the_latest_version_are_given_up_when_there_is_another() -> None:
    async def script(on: LocalStage) -> None:
        client = await on.client()
        await on.front.serve(1)
        latest, bell, told = await on.open(client)
        certain, other_bell, _ = await on.open(client, version=1)
        assert told["version"] == 1
        await on.front.serve(2)
        assert await client.message() == {"type": "retire", "lane": latest}
        _, third_bell, told = await on.open(client)
        assert told["version"] == 2
        for each in (bell, other_bell, third_bell):
            each.close()
        assert certain != latest

    play(script)


def test_lanes_of_a_label_are_given_up_when_it_moves() -> None:
    async def script(on: LocalStage) -> None:
        client = await on.client()
        await on.front.serve(1)
        await on.front.serve(2)
        on.front.say("routing", model="m", labels={"stable": [[1, 1.0], [2, 1.0]]}, shadows=[])
        await on.front.heard()
        number, bell, told = await on.open(client, label="stable")
        other = 3 - told["version"]
        on.front.say("routing", model="m", labels={"stable": [[other, 1.0]]}, shadows=[])
        on.front.say("models", names=["m", "n"])
        await on.front.heard()
        on.front.front_end.catalog.notify(("m",))
        assert await client.message() == {"type": "retire", "lane": number}
        bell.close()

    play(script)


def test_a_lane_of_a_label_that_splits_its_requests_stays() -> None:
    async def script(on: LocalStage) -> None:
        client = await on.client()
        await on.front.serve(1)
        await on.front.serve(2)
        on.front.say("routing", model="m", labels={"split": [[1, 1.0], [2, 1.0]]}, shadows=[])
        await on.front.heard()
        _, bell, _ = await on.open(client, label="split")
        for _ in range(50):  # each draw would have another result in half of the cases
            on.front.front_end.catalog.notify(("m",))
            await on.front.heard()
        assert not client.read()
        bell.close()

    play(script)


def test_a_worker_that_ended_takes_its_lanes_along() -> None:
    async def script(on: LocalStage) -> None:
        client = await on.client()
        await on.front.serve()
        number, bell, _ = await on.open(client)
        on.front.say("worker", worker="cpu:1", servable=None, usable=False)
        await on.front.heard()
        assert "drop_local" not in on.front.types()
        on.front.say("worker", worker="cpu:0", servable=None, usable=False)
        assert await on.dropped() == number
        on.front.say("retire", servable=["m", 1], call=5)
        await until(lambda: {"type": "answer", "call": 5} in on.front.told)
        assert not client.read()  # it has heard that from the lane
        bell.close()

    play(script)


def test_what_a_gone_client_had_goes_with_it() -> None:
    async def script(on: LocalStage) -> None:
        client, other = await on.client(), await on.client()
        await on.front.serve()
        mine = [await on.open(client) for _ in range(3)]
        kept = await on.open(other)
        client.close()
        assert {await on.dropped() for _ in mine} == {number for number, _, _ in mine}
        await on.front.heard()
        assert "drop_local" not in on.front.types()
        for _, bell, _ in (*mine, kept):
            bell.close()

    play(script)


def test_a_lane_that_comes_for_a_client_that_is_gone_is_dropped() -> None:
    async def script(on: LocalStage) -> None:
        client = await on.client()
        await on.front.serve()
        await client.send({**OPEN, "call": 3}, {**OPEN, "call": 4})
        await until(lambda: "local_lane" in on.front.types())
        client.close()
        await until(lambda: not on.server.clients)
        before = open_files()
        number, bell = await on.make_lane()
        assert await on.dropped() == number
        assert bell.recv(1) == b""
        bell.close()
        await on.front.heard()
        assert "local_lane" not in on.front.types()  # nor is the second one asked for
        assert open_files() == before
        on.front.say("retire", servable=["m", 1], call=5)
        await until(lambda: {"type": "answer", "call": 5} in on.front.told)

    play(script)


def test_a_lane_of_a_version_that_was_retired_while_it_was_made_is_given_up_at_once() -> None:
    async def script(on: LocalStage) -> None:
        client = await on.client()
        await on.front.serve()
        await client.send({**OPEN, "call": 3})
        await until(lambda: "local_lane" in on.front.types())
        on.front.say("retire", servable=["m", 1], call=5)
        number, bell = await on.make_lane()
        message, fds = await client.receive()
        assert message["lane"] == number
        assert await client.message() == {"type": "retire", "lane": number}
        for fd in fds:
            os.close(fd)
        bell.close()

    play(script)


def test_a_client_has_so_many_lanes_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontend.local.client, "_MOST_LANES", 3)

    async def script(on: LocalStage) -> None:
        client = await on.client()
        await on.front.serve()
        _, first_bell, _ = await on.open(client)
        await client.send(*({**OPEN, "call": call} for call in range(10, 14)))  # one is there, two may be asked for
        refusals = [await client.message(), await client.message()]
        assert [(refusal["call"], refusal["code"]) for refusal in refusals] == [
            (12, Code.RESOURCE_EXHAUSTED),
            (13, Code.RESOURCE_EXHAUSTED),
        ]
        bells = [first_bell]
        for call in (10, 11):
            _, bell = await on.make_lane()
            message, fds = await client.receive()
            assert message["call"] == call
            bells.append(bell)
            for fd in fds:
                os.close(fd)
        for bell in bells:
            bell.close()

    play(script)


def test_so_many_clients_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontend.local.server, "_MOST_CLIENTS", 2)

    async def script(on: LocalStage) -> None:
        first, _ = await on.client(), await on.client()
        third = on.connect()
        assert (await third.message())["code"] == Code.RESOURCE_EXHAUSTED
        await third.end()
        first.close()
        await until(lambda: len(on.server.clients) == 1)
        await on.client()

    play(script)


def test_so_many_forms_of_a_signature_and_no_more() -> None:
    async def script(on: LocalStage) -> None:
        client = await on.client()
        await on.front.serve()
        bells = []
        for size in range(1, 9):
            _, bell, _ = await on.open(client, inputs=[[1, "<f4", [size]]])
            bells.append(bell)
        await client.send({**OPEN, "call": 3, "inputs": [[1, "<f4", [99]]]})
        assert (await client.message())["code"] == Code.RESOURCE_EXHAUSTED
        _, bell, _ = await on.open(client, inputs=[[1, "<f4", [3]]])  # one of the eight
        for each in (*bells, bell):
            each.close()

    play(script)


def test_a_stopping_server_has_lanes_given_up_and_opens_none() -> None:
    async def script(on: LocalStage) -> None:
        client, idle = await on.client(), await on.client()
        await on.front.serve()
        number, bell, _ = await on.open(client)
        on.front.say("stop")
        await on.front.heard()
        drain = asyncio.ensure_future(on.server.drain())
        assert await client.message() == {"type": "retire", "lane": number}
        await client.send({**OPEN, "call": 3})
        assert (await client.message())["code"] == Code.UNAVAILABLE
        assert not drain.done()
        await client.send({"type": "close", "lane": number})
        await drain
        on.server.close()
        await idle.end()
        await client.end()
        bell.close()

    play(script)


def test_a_server_without_room_for_a_connection_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontend.local.server, "_PAUSE_SECONDS", 0.01)

    async def script(on: LocalStage) -> None:
        found = on.server._listener
        assert found is not None
        listener: socket.socket = found
        failures = [OSError(24, "Too many open files")]

        class Listener:
            def fileno(self) -> int:
                return listener.fileno()

            def accept(self) -> Any:
                if failures:
                    raise failures.pop()
                return listener.accept()

            def close(self) -> None:
                listener.close()

        on.server._listener = Listener()  # type: ignore[assignment]
        client = on.connect()
        assert (await client.hello())["type"] == "welcome"
        assert not failures

    play(script)


def test_a_signature_with_strings_has_no_columns_for_them() -> None:
    async def script(on: LocalStage) -> None:
        client = await on.client()
        await on.front.serve(1, signature(spec("x", "string"), outputs=(spec("y"),)))
        await client.send({**OPEN, "call": 3, "inputs": [[7, "", []]]})
        assert (await client.message())["code"] == Code.INVALID_ARGUMENT
        _, bell, _ = await on.open(client)  # packed
        assert on.front.front_end.catalog.find(ServableId("m", 1)) is not None
        bell.close()

    play(script)
