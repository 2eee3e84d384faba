"""Several front ends on one port are one server: what they count is added up, and what they say is the same."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from end_to_end.conftest import write_config
from end_to_end.keep_alive_client import DroppedError, KeepAliveClient
from end_to_end.running_server import RunningServer
from end_to_end.scraped_metrics import MONITORING, clean, total, upstream
from end_to_end.waiting import wait_until

PATH = "/v1/models/half_plus_two:predict"
CONNECTIONS, EACH = 40, 25
LIMIT = 15  # seconds


@pytest.fixture(scope="module")
def pair(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("pair")
    monitoring = folder / "monitoring.config"
    monitoring.write_text(MONITORING)
    served = {name: models / name for name in ("half_plus_two", "broken")}
    config = write_config(folder / "models.config", served)
    with RunningServer(config, "--rest_frontends=2", f"--monitoring_config_file={monitoring}") as server:
        yield server


def counted(server: RunningServer, **labels: str) -> float:
    return total(clean(server), "ringserve_requests_total", **labels)


def by_front_end(server: RunningServer) -> Counter[str]:
    counts: Counter[str] = Counter()
    for (front_end, _), completed in server.completed().items():
        counts[front_end] += completed
    return counts


async def ask_on_many_connections(port: int) -> None:
    """Right and wrong requests; half of the connections stay open until all have been made."""

    async def ask(number: int) -> None:
        client = await KeepAliveClient.connect(port)
        for step in range(EACH):
            answer = await client.ask("POST", PATH, {"instances": [number, step]})
            assert (answer.status, answer.json) == (200, {"predictions": [number / 2 + 3, step / 2 + 3]})
        wrong = await client.ask("POST", "/v1/models/nope:predict", {"instances": [1]})
        assert wrong.status == 404
        await client.close()

    await asyncio.gather(*[ask(number) for number in range(CONNECTIONS)])


def test_requests_are_counted_as_one_servers(pair: RunningServer) -> None:
    before, by_each = counted(pair), by_front_end(pair)
    asyncio.run(ask_on_many_connections(pair.port))
    shares = by_front_end(pair) - by_each
    assert set(shares) == {"frontend rest 0", "frontend rest 1"}, "the kernel gives connections to both"
    assert sum(shares.values()) == CONNECTIONS * EACH
    wait_until(lambda: counted(pair) >= before + CONNECTIONS * (EACH + 1), LIMIT, "every request counted")
    assert counted(pair, model="half_plus_two", code="OK") == CONNECTIONS * EACH
    assert counted(pair, model="nope", code="NOT_FOUND") == CONNECTIONS
    page = upstream(pair)
    assert total(page, ":tensorflow:serving:request_count", model_name="half_plus_two", status="OK") == CONNECTIONS * EACH
    assert total(page, ":tensorflow:serving:request_latency_count", model_name="half_plus_two") == CONNECTIONS * EACH

    def rows() -> float:
        return total(clean(pair), "ringserve_batch_rows_sum", model="half_plus_two")

    wait_until(lambda: rows() == 2 * CONNECTIONS * EACH, LIMIT, "every row counted")


async def from_many_connections(port: int, path: str) -> set[tuple[int, bytes]]:
    """What 30 connections at once are answered: of all front ends, but for one chance in a billion."""

    async def ask(client: KeepAliveClient) -> tuple[int, bytes]:
        answer = await client.ask("GET", path)
        await client.close()
        return answer.status, answer.body

    clients = [await KeepAliveClient.connect(port) for _ in range(30)]
    return set(await asyncio.gather(*map(ask, clients)))


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/models/half_plus_two", 200),
        ("/v1/models/half_plus_two/metadata", 200),
        ("/v1/models/broken", 200),
        ("/v1/models/broken/metadata", 404),
        ("/v1/openapi.json", 200),
        ("/livez", 200),
        ("/readyz", 503),
        ("/readyz/half_plus_two", 200),
        ("/readyz/broken", 503),
        ("/readyz/nope", 404),
        ("/", 200),
    ],
)
def test_all_say_the_same(pair: RunningServer, path: str, status: int) -> None:
    ((answered, body),) = asyncio.run(from_many_connections(pair.port, path))
    assert (answered, bool(body)) == (status, True)


def test_a_front_end_that_dies_takes_no_counts_with_it(pair: RunningServer) -> None:
    before = counted(pair, model="half_plus_two", api="predict")
    asyncio.run(ask_on_many_connections(pair.port))
    sent = before + CONNECTIONS * EACH
    wait_until(lambda: counted(pair, model="half_plus_two", api="predict") >= sent, LIMIT, "every request counted")
    killed = pair.process("frontend rest 1")
    os.kill(killed, signal.SIGKILL)
    seen = []

    def is_back() -> bool:
        with suppress(OSError, DroppedError):
            seen.append(counted(pair, model="half_plus_two", api="predict"))
        return killed not in pair.processes().values() and "ringserve: frontend rest 1" in pair.processes()

    wait_until(is_back, LIMIT, "the front end to be replaced")
    pair.wait_for_log("frontend rest 1 is back", LIMIT)
    assert set(seen) <= {sent}, "nothing was asked meanwhile, and nothing is forgotten"
    asyncio.run(ask_on_many_connections(pair.port))
    sent += CONNECTIONS * EACH
    wait_until(lambda: counted(pair, model="half_plus_two", api="predict") >= sent, LIMIT, "every request counted")
    assert counted(pair, model="half_plus_two", api="predict") == sent
    assert total(clean(pair), "ringserve_frontend_restarts_total") == 1
    ((status, _),) = asyncio.run(from_many_connections(pair.port, "/v1/models/half_plus_two"))
    assert status == 200
