"""Many clients at once over several models, two front ends and two workers: nobody gets anybody else's answer."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from end_to_end.conftest import write_config
from end_to_end.load import Asking, Load, Question, halves
from end_to_end.running_server import RunningServer

MODELS = ("half_plus_two", "half_plus_two_2d", "two_inputs", "text", "batch_dependent", "dynamic_image", "data_dependent")


@pytest.fixture(scope="module")
def crowd(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server of two front ends and two workers."""
    flag = write_config(tmp_path_factory.mktemp("config") / "models.config", {name: models / name for name in MODELS})
    with RunningServer(flag, "--rest_frontends=2", "--devices=cpu:2") as server:
        yield server


def two_inputs(chance: random.Random) -> Question:
    rows = chance.randint(1, 4)
    a = [[float(chance.randrange(1 << 20)) for _ in range(3)] for _ in range(rows)]
    b = [chance.randrange(1 << 20) for _ in range(rows)]
    sums = [[number + more for number in row] for row, more in zip(a, b, strict=True)]
    body = {"inputs": {"a": a, "b": b}}
    return Question("/v1/models/two_inputs:predict", body, {"outputs": {"count": b, "sum": sums}})


def text(chance: random.Random) -> Question:
    words = ["".join(chance.choices("abcdefgh", k=chance.randrange(40))) for _ in range(chance.randint(1, 4))]
    return Question("/v1/models/text:predict", {"instances": words}, {"predictions": [upper(word) for word in words]})


def upper(word: str) -> dict[str, object]:
    return {
        "length": len(word),
        "upper": word.upper(),
        "upper_bytes": {"b64": base64.b64encode(word.upper().encode()).decode()},
    }


def batch_dependent(chance: random.Random) -> Question:
    """Each row is measured against the mean of its own request: with a neighbour's rows in it, all would be wrong."""
    numbers = [float(chance.randrange(1 << 10)) for _ in range(2 ** chance.randint(0, 3))]
    mean = sum(numbers) / len(numbers)
    path = "/v1/models/batch_dependent:predict"
    return Question(path, {"instances": numbers}, {"predictions": [number - mean for number in numbers]})


def data_dependent(chance: random.Random) -> Question:
    """As many rows out as there are different ones in this request."""
    numbers = [chance.randrange(4) for _ in range(chance.randint(1, 6))]
    path = "/v1/models/data_dependent:predict"
    return Question(path, {"instances": numbers}, {"predictions": list(dict.fromkeys(numbers))})


def dynamic_image(chance: random.Random) -> Question:
    height, width = (2 ** chance.randint(0, 3) for _ in range(2))
    colour = [float(chance.randrange(1 << 10)) for _ in range(3)]
    image = [[colour] * width] * height
    return Question("/v1/models/dynamic_image:predict", {"instances": [image]}, {"predictions": [colour]})


def one_column(chance: random.Random) -> Question:
    numbers = [float(chance.randrange(1 << 20)) for _ in range(chance.randint(1, 5))]
    return Question(
        "/v1/models/half_plus_two_2d:predict",
        {"instances": [[number] for number in numbers]},
        {"predictions": [[number / 2 + 2] for number in numbers]},
    )


EVERYTHING: tuple[Asking, ...] = (
    halves("half_plus_two", 3.0),
    halves("half_plus_two", 3.0, most_rows=700),
    one_column,
    two_inputs,
    text,
    batch_dependent,
    data_dependent,
    dynamic_image,
)


def test_hundreds_of_clients_get_their_own_answers(crowd: RunningServer) -> None:
    with Load(crowd.port, 300, *EVERYTHING) as load:
        load.wait_for_answers(6000, seconds=60)
        outcome = load.stop()
    assert outcome.wrong == []
    assert outcome.dropped == 0
    assert len(outcome.by_path) == len({question(random.Random(0)).path for question in EVERYTHING})


def test_one_request_that_fails_is_nobody_elses_failure(serve_failing: RunningServer) -> None:
    """Bad and good rows travel in the same batches."""

    def roots(chance: random.Random) -> Question:
        numbers = [float(chance.randrange(100)) for _ in range(chance.randint(1, 4))]
        path = "/v1/models/fails_on_negative:predict"
        return Question(path, {"instances": [number**2 for number in numbers]}, {"predictions": numbers})

    with Load(serve_failing.port, 60, roots) as load:
        errors = 0
        while errors < 100:
            answer = serve_failing.predict("fails_on_negative", {"instances": [4.0, -1.0]})
            assert answer.status == 400
            assert "negative input" in answer.error
            errors += 1
        load.wait_for_answers(200)
        outcome = load.stop()
    assert outcome.wrong == []
    assert outcome.dropped == 0


@pytest.fixture
def serve_failing(models: Path) -> Iterator[RunningServer]:
    flags = "--model_name=fails_on_negative", f"--model_base_path={models}/fails_on_negative"
    with RunningServer(*flags) as server:
        yield server


def test_both_front_ends_and_both_workers_have_work(crowd: RunningServer) -> None:
    before = crowd.completed()
    with Load(crowd.port, 64, halves("half_plus_two", 3.0)) as load:
        load.wait_for_answers(2000)
        outcome = load.stop()
    assert outcome.wrong == []
    more = crowd.completed() - before
    assert set(more) == {(f"frontend rest {i}", f"worker cpu:{j}") for i in range(2) for j in range(2)}
    assert more.total() == outcome.answered
