"""Load: clients that ask again as soon as they are answered, and check every answer."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple, Self

from end_to_end.keep_alive_client import DroppedError, KeepAliveClient, TornError
from end_to_end.run_queue import RunQueue
from end_to_end.waiting import wait_until


class Question(NamedTuple):
    """A request, and the answer that is right, or the two that are."""

    path: str
    body: dict[str, Any]
    answer: dict[str, Any]
    other_answer: dict[str, Any] | None = None


Asking = Callable[[random.Random], Question]


def halves(model: str, offset: float, most_rows: int = 5) -> Asking:
    """Questions to a model that answers x / 2 + offset; numbers that float32 holds exactly, and hardly ever the same."""

    def ask(chance: random.Random) -> Question:
        numbers = [float(chance.randrange(1 << 20)) for _ in range(chance.randint(1, most_rows))]
        expected = [number / 2 + offset for number in numbers]
        return Question(f"/v1/models/{model}:predict", {"instances": numbers}, {"predictions": expected})

    return ask


@dataclass
class Outcome:
    """What came of all questions so far."""

    answered: int = 0
    wrong: list[str] = field(default_factory=list)
    dropped: int = 0  # connections that ended without an answer, or could not be made
    slowest: float = 0.0  # seconds, less what the clients' own thread waited for a processor
    by_path: Counter[str] = field(default_factory=Counter)
    begun: dict[int, float] = field(default_factory=dict)  # when each client's open question was asked
    last: float = 0.0  # when the last answer came


class Load:
    """In a thread of its own, from entering `with` until leaving it or `stop`."""

    def __init__(self, port: int, clients: int, *questions: Asking) -> None:
        self.outcome = Outcome()
        self._port = port
        self._clients = clients
        self._questions = questions
        self._stopping = False
        self._run_queue: RunQueue
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="load")

    def __enter__(self) -> Self:
        self._thread.start()
        self.wait_for_answers(self._clients)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stopping = True
        self._thread.join()
        if error is None and self._failure is not None:
            raise self._failure

    def wait_for_answers(self, more: int, seconds: float = 30) -> None:
        """Until that many more questions than now are answered."""
        until = self.outcome.answered + more
        wait_until(lambda: self.outcome.answered >= until or self._failure, seconds, f"{more} answers, {self.outcome}")

    def stop(self) -> Outcome:
        """Each client waits for its last answer."""
        self.__exit__(None, None, None)
        return self.outcome

    def _run(self) -> None:
        try:
            with RunQueue() as self._run_queue:
                asyncio.run(self._all())
        except BaseException as error:
            self._failure = error

    async def _all(self) -> None:
        await asyncio.gather(*(self._client(number) for number in range(self._clients)))

    async def _client(self, number: int) -> None:
        chance = random.Random(number)
        client: KeepAliveClient | None = None
        while not self._stopping:
            try:
                client = client or await KeepAliveClient.connect(self._port)
                await self._ask(client, number, chance)
            except (DroppedError, OSError):
                self.outcome.dropped += 1
                if client:
                    await client.close()
                client = None
                await asyncio.sleep(0.005)
            except TornError:
                self.outcome.wrong.append("an answer ended in the middle")
                break
            finally:
                self.outcome.begun.pop(number, None)
        if client:
            await client.close()

    async def _ask(self, client: KeepAliveClient, number: int, chance: random.Random) -> None:
        question = chance.choice(self._questions)(chance)
        waited = self._run_queue.waited()
        began = self.outcome.begun[number] = time.monotonic()
        answer = await client.ask("POST", question.path, question.body)
        now = time.monotonic()
        outcome = self.outcome
        outcome.slowest = max(outcome.slowest, now - began - (self._run_queue.waited() - waited))
        outcome.last = now
        if answer.status != 200 or json.loads(answer.body) not in (question.answer, question.other_answer):
            outcome.wrong.append(f"{question}: {answer.status} {answer.body[:300]!r}")
        outcome.answered += 1
        outcome.by_path[question.path] += 1
