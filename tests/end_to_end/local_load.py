"""Load of local clients: threads that ask with random shapes, models and versions, and check every answer to the bit.

Run as a program, one client process: `local_load.py URL SEED THREADS SECONDS`, which writes what came of it as JSON.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from end_to_end.waiting import wait_until
from ringserve import Client, ServingError

PATIENCE = 30.0  # seconds
_MOST_KEPT = 20
_STARTED = 40  # requests that a thread has on their way at once

Array = np.ndarray[Any, Any]


#: The outputs that are right for these inputs, from the version that has answered.
Right = Callable[[dict[str, Any], int], dict[str, Array]]


class Question(NamedTuple):
    """A request, and what it is to be answered."""

    model: str
    inputs: dict[str, Any]
    right: Right
    words: dict[str, Any] = {}  # noqa: RUF012 - never changed


Asking = Callable[[random.Random], Question]


def numbers(chance: random.Random, *shape: int) -> Array:
    count = int(np.prod(shape))
    return np.frombuffer(chance.randbytes(2 * count), "<u2").astype("<f4").reshape(shape)


def any_shape(chance: random.Random) -> tuple[int, ...]:
    return tuple(chance.choice([1, 1, 2, 3, 5]) for _ in range(chance.choice([0, 1, 1, 1, 2, 2, 3])))


def half(inputs: dict[str, Any], version: int) -> dict[str, Array]:
    """By the versions of half_plus_two, which add 2 and 3."""
    return {"y": inputs["x"] / 2 + np.float32(version + 1)}


def halves(chance: random.Random) -> Question:
    """Of any shape, mostly such that have columns, of one of two versions."""
    version = chance.choice([1, 2])
    x = numbers(chance, *chance.choice([(3,), (1,), (chance.randint(1, 60),), (2, 1), any_shape(chance)]))
    which: dict[str, Any] = chance.choice([{"version": version}, {"label": f"v{version}"}])
    return Question("half_plus_two", {"x": x}, lambda inputs, _: half(inputs, version), which)


def newest(chance: random.Random) -> Question:
    return Question("half_plus_two", {"x": numbers(chance, chance.randint(1, 60))}, half)


def one_row(chance: random.Random) -> Question:
    return Question("half_plus_two_2d", {"x": numbers(chance, chance.randint(1, 3), 1)}, half)


def many_rows(chance: random.Random) -> Question:
    return Question("half_plus_two_2d", {"x": numbers(chance, chance.choice([100, 3000, 9000]), 1)}, half)


def two_inputs(chance: random.Random) -> Question:
    rows = chance.randint(1, 5)
    inputs = {"a": numbers(chance, rows, 3), "b": np.array([chance.randrange(1 << 15) for _ in range(rows)], "<i4")}
    chosen = chance.choice([None, ["sum"], ["count", "sum"]])

    def right(inputs: dict[str, Any], _: int) -> dict[str, Array]:
        rights = {"sum": inputs["a"] + inputs["b"][:, None].astype("<f4"), "count": inputs["b"].astype("<i8")}
        return {name: rights[name] for name in chosen or rights}

    return Question("two_inputs", inputs, right, {"outputs": chosen})


def text(chance: random.Random) -> Question:
    words = ["".join(chance.choices("abcdefgh", k=chance.randrange(40))).encode() for _ in range(chance.randint(1, 6))]
    upper = np.array([word.upper() for word in words], object)
    rights = {"length": np.array([len(word) for word in words], "<i4"), "upper": upper, "upper_bytes": upper}
    return Question("text", {"x": words}, lambda *_: rights)


def same(chance: random.Random) -> Question:
    signature, numpy = chance.choice([("bool", "?"), ("int8", "i1"), ("double", "<f8"), ("half", "<f2"), ("uint64", "<u8")])
    x = (numbers(chance, chance.randint(1, 6), 2) % 2).astype(numpy)
    return Question("identity", {"x": x}, lambda inputs, _: {"y": inputs["x"]}, {"signature": signature})


def against_its_mean(chance: random.Random) -> Question:
    """With a neighbour's rows in it, all would be wrong."""
    x = np.floor(numbers(chance, 2 ** chance.randint(0, 3)) / 4) * 8
    return Question("batch_dependent", {"x": x}, lambda inputs, _: {"y": inputs["x"] - inputs["x"].mean()})


EVERYTHING: tuple[Asking, ...] = (halves, halves, one_row, one_row, many_rows, two_inputs, text, same, against_its_mean)
EACH: tuple[Asking, ...] = (newest, one_row, two_inputs, same)  # that can be asked row by row as well


@dataclass
class Outcome:
    """What came of all requests so far; `answered` counts those of predict_each one by one."""

    answered: int = 0
    wrong: list[str] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)  # by the code's name and the text
    slowest: float = 0.0  # seconds, of those that did not fail
    by_kind: Counter[str] = field(default_factory=Counter)
    by_version: Counter[int] = field(default_factory=Counter)
    last: float = 0.0  # when the last answer came


class LocalLoad:
    """One client, in so many threads, from entering `with` until leaving it or `stop`."""

    def __init__(self, url: str, threads: int, *asking: Asking, seed: int = 0, patience: float = PATIENCE) -> None:
        self.outcome = Outcome()
        self._asking = asking
        self._client = Client(url, timeout=patience)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._run, args=(random.Random(seed * 100 + number),), name=f"load {number}")
            for number in range(threads)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.wait_for_answers(1)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._client.close()
        if error is None and self._failure is not None:
            raise self._failure

    def stop(self) -> Outcome:
        """The last requests are waited for."""
        self.__exit__(None, None, None)
        return self.outcome

    def wait_for_answers(self, more: int, seconds: float = 30) -> None:
        """Until that many more requests than now are answered."""
        until = self.outcome.answered + more
        wait_until(
            lambda: self.outcome.answered >= until or self._failure is not None,
            seconds,
            lambda: f"{more} answers, {self.outcome}",
        )

    def _run(self, chance: random.Random) -> None:
        try:
            while not self._stopping.is_set():
                chance.choices([self._ask, self._start_some, self._each, self._slot], [20, 1, 2, 2])[0](chance)
        except BaseException as error:
            self._failure = error

    def _ask(self, chance: random.Random) -> None:
        question = chance.choice(self._asking)(chance)
        self._count(
            question.model, question, lambda: self._client.predict(question.model, question.inputs, **question.words)
        )

    def _start_some(self, chance: random.Random) -> None:
        started: list[tuple[Question, Future[Any]]] = []
        for _ in range(_STARTED):
            question = chance.choice(self._asking)(chance)
            started.append((question, self._client.submit(question.model, question.inputs, **question.words)))
        for question, future in started:
            if chance.random() > 0.05 or not future.cancel():
                self._count(f"started {question.model}", question, lambda future=future: future.result(PATIENCE))  # type: ignore[misc]

    def _each(self, chance: random.Random) -> None:
        kinds = [asking for asking in self._asking if asking in EACH]
        if not kinds:
            return
        model, inputs, right, words = chance.choice(kinds)(chance)
        times = chance.choice([1, 3, 400])
        question = Question(model, {name: np.concatenate([array] * times) for name, array in inputs.items()}, right)
        count = len(next(iter(question.inputs.values())))
        self._count(f"each {model}", question, lambda: self._client.predict_each(model, question.inputs, **words), count)

    def _slot(self, chance: random.Random) -> None:
        if one_row not in self._asking:
            return
        began = time.monotonic()
        try:
            with self._client.slot("half_plus_two_2d", chance.randint(1, 20)) as slot:
                for _ in range(chance.randint(1, 4)):
                    x = numbers(chance, *slot.inputs["x"].shape)
                    slot.inputs["x"][:] = x
                    slot.run()
                    self._note("slot", 1, time.monotonic() - began, differs(slot.outputs, half({"x": x}, 1)))
                    began = time.monotonic()
        except ServingError as error:
            self._fail(error)

    def _count(self, kind: str, question: Question, call: Callable[[], Any], count: int = 1) -> None:
        began = time.monotonic()
        try:
            answer = call()
        except ServingError as error:
            self._fail(error)
            return
        wrong = str(getattr(answer, "errors", None) or "")
        wrong = wrong or differs(answer, question.right(question.inputs, answer.version))
        self._note(kind, answer.version, time.monotonic() - began, wrong, count)

    def _note(self, kind: str, version: int, seconds: float, wrong: str, count: int = 1) -> None:
        outcome = self.outcome
        with self._lock:
            outcome.answered += count
            outcome.by_kind[kind] += 1
            outcome.by_version[version] += 1
            outcome.slowest = max(outcome.slowest, seconds)
            outcome.last = time.monotonic()
            if wrong and len(outcome.wrong) < _MOST_KEPT:
                outcome.wrong.append(f"{kind}: {wrong}")

    def _fail(self, error: ServingError) -> None:
        with self._lock:
            self.outcome.failed[f"{error.code.name}: {error.message}"] += 1
        self._stopping.wait(0.002)


def differs(answer: Any, rights: dict[str, Array]) -> str:
    """What of an answer is not as it has to be, to the bit."""
    for name, right in rights.items():
        got = answer.get(name)
        if got is None or got.shape != right.shape or got.dtype != right.dtype or not np.array_equal(got, right):
            return f"{name} {got!r}, not {right!r}"
    return "" if len(answer) == len(rights) else f"outputs {list(answer)}"


def main(url: str, seed: str, threads: str, seconds: str) -> None:
    with LocalLoad(url, int(threads), *EVERYTHING, seed=int(seed)) as load:
        time.sleep(float(seconds))
        outcome = load.stop()
    print(json.dumps(vars(outcome)))


if __name__ == "__main__":
    main(*sys.argv[1:])
