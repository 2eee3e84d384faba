"""REST requests over a real connection, as far as labels, keys, metrics and handles go; worker and supervisor are played."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from explained_models import explained_model
from front_end_stage import M1, Stage, stage, until
from rest_stage import served
from worker_side import WorkerSide, on_loop

Client = aiohttp.ClientSession


@asynccontextmanager
async def client_of(on: Stage) -> AsyncIterator[Client]:
    async with served(on) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
        yield client


class Served:
    """Which version was asked: each has a worker of its own."""

    def __init__(self, on: Stage, client: Client, workers: dict[int, WorkerSide]) -> None:
        self._on = on
        self._client = client
        self._workers = workers

    async def by(self, label: str, key: str | None = None) -> int:
        headers = {} if key is None else {"X-Ringserve-Key": key}
        path = f"/v1/models/m/labels/{label}:predict"
        asked = asyncio.create_task(self._client.post(path, json={"instances": [1]}, headers=headers))
        await until(lambda: any(worker.consumer.waiting for worker in self._workers.values()))
        (number,) = (number for number, worker in self._workers.items() if worker.consumer.waiting)
        self._on.answer(self._workers[number])
        answer = await asked
        assert (answer.status, await answer.json()) == (200, {"predictions": [2.0]})
        return number


@on_loop
async def test_labels() -> None:
    async with stage() as on, client_of(on) as client:
        asked = Served(on, client, {number: (await on.open(number))[1] for number in (1, 2)})
        labels = {"stable": [[1, 1.0]], "canary": [[2, 1.0]], "prod": [[1, 50.0], [2, 50.0]]}
        on.say("routing", model="m", labels=labels, shadows=[])
        await on.heard()
        assert [await asked.by(label) for label in ("stable", "canary")] == [1, 2]
        assert await asked.by("canary", "any key") == 2
        assert [await asked.by("prod", key) for key in ("a", "b", "c", "d")] == [1, 2, 1, 1]
        assert {await asked.by("prod", "b") for _ in range(8)} == {2}
        assert {await asked.by("prod") for _ in range(64)} == {await asked.by("prod", "") for _ in range(64)} == {1, 2}
        answer = await client.get("/v1/models/m/labels/stable/metadata")
        assert (await answer.json())["model_spec"]["version"] == "1"
        for method, path in (("POST", "labels/none:predict"), ("GET", "labels/none/metadata")):
            answer = await client.request(
                method, f"/v1/models/m/{path}", data=b'{"instances": [1]}' if method == "POST" else None
            )
            assert answer.status == 400
            assert await answer.json() == {"error": "Unrecognized servable version label: none"}
        answer = await client.get("/v1/models/m/labels/none")
        assert (await answer.json())["error"] == "Could not find any versions of model m", "status: labels don't count"


@on_loop
async def test_handles_are_given_up_whatever_becomes_of_the_request() -> None:
    async with stage() as on, client_of(on) as client:
        _, worker = await on.open()
        for body, status in ((b'{"instances": ["x"]}', 400), (b'{"instances": [1], "signature_name": "none"}', 400)):
            assert (await client.post("/v1/models/m:predict", data=body)).status == status
        assert (await client.get("/v1/models/m/metadata")).status == 200
        asked = asyncio.create_task(client.post("/v1/models/m:predict", data=b'{"instances": [1]}'))
        await until(lambda: worker.consumer.waiting)
        on.say("retire", servable=M1, call=7)
        await on.heard()
        assert "answer" not in on.types()
        asked.cancel()  # the client goes away
        await until(lambda: {"type": "answer", "call": 7} in on.told)


@on_loop
async def test_metrics() -> None:
    async with stage() as on, client_of(on) as client:
        asked = asyncio.create_task(client.get("/metrics"))
        await until(lambda: "metrics" in on.types())
        on.say("told", call=on.told[-1]["call"], text='# TYPE x counter\nx{m="é"} 1\n')
        answer = await asked
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert (await answer.read()).decode() == '# TYPE x counter\nx{m="é"} 1\n'


@on_loop
async def test_metrics_that_do_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frontend.front_end._METRICS_SECONDS", 0.01)
    async with stage() as on, client_of(on) as client:
        answer = await client.get("/metrics")
        assert (answer.status, answer.content_type) == (503, "text/plain")
        assert "supervisor" in await answer.text()


@on_loop
async def test_the_page_has_what_the_supervisor_knows_of_batching() -> None:
    async with stage() as on, client_of(on) as client:
        await on.open()
        asked = asyncio.create_task(client.get("/"))
        await until(lambda: "batching" in on.types())
        on.say("told", call=on.told[-1]["call"], text=json.dumps({"m": explained_model("é <why>")}))
        answer = await asked
        assert (answer.status, answer.content_type) == (200, "text/html")
        assert "at most 32 rows, waits at most 2 ms: é &lt;why&gt;" in await answer.text()


@on_loop
async def test_the_page_comes_without_it_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frontend.front_end._BATCHING_SECONDS", 0.01)
    async with stage() as on, client_of(on) as client:
        await on.open()
        answer = await client.get("/")
        assert answer.status == 200
        text = await answer.text()
        assert "serving_default" in text
        assert "at most" not in text
        (asked,) = (message for message in on.told if message["type"] == "batching")
        on.say("told", call=asked["call"], text="{}")
        await on.heard()


@on_loop
async def test_metrics_are_at_one_path_only() -> None:
    async with stage() as on, client_of(on) as client:
        for method, path in (("POST", "/metrics"), ("GET", "/metrics/"), ("GET", "/v1/metrics")):
            assert (await client.request(method, path)).status in (400, 404)
        assert "metrics" not in on.types()
