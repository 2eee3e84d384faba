"""Version folders as publishers make and change them, and what the versions of half_plus_two answer."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from end_to_end.load import Question
from end_to_end.running_server import RunningServer


def publish(source: Path, folder: Path) -> None:
    """A version folder that appears whole; one that is there already is exchanged for it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    hidden, former = folder.parent / f".{folder.name}", folder.parent / f".{folder.name}.former"
    shutil.copytree(source, hidden)
    if folder.exists():
        folder.rename(former)
    hidden.rename(folder)
    shutil.rmtree(former, ignore_errors=True)


def either(chance: random.Random) -> Question:
    """To a model whose versions answer x / 2 + 2 and x / 2 + 3."""
    numbers = [float(chance.randrange(1 << 20)) for _ in range(chance.randint(1, 5))]
    answers = [{"predictions": [number / 2 + offset for number in numbers]} for offset in (2.0, 3.0)]
    return Question("/v1/models/half_plus_two:predict", {"instances": numbers}, *answers)


def predicted(server: RunningServer, model: str = "half_plus_two") -> float:
    """What it makes of 2: 3 by version 1 of half_plus_two, 4 by version 2."""
    answer = server.predict(model, {"instances": [2.0]})
    assert answer.status == 200, answer
    return float(answer.json["predictions"][0])
