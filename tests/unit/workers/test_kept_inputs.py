"""A graph that keeps an input's memory beyond its run never sees that memory change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ringserve.options import ServerOptions
from shm.layout import Column
from shm.packed import PackedTensor
from workers.engine import Form
from workers.tf.engine import TensorFlowEngine
from workers.tf.session import Session

ROWS = 16
FORM = Form(((1, Column("<f4", ())),), ((1, Column("<f4", ())),))


@pytest.fixture(name="load")
def _load(models: Path) -> object:
    engine = TensorFlowEngine(ServerOptions(model_base_path="/m"))
    return lambda name: engine.load(str(models / name / "1"))


@pytest.fixture(name="only_runs_tell")
def _only_runs_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no operation of the graph were known to keep anything."""
    monkeypatch.setattr(Session, "changes_state", lambda session, signature: False)


def run(session: Session, memory: np.ndarray[tuple[int], np.dtype[np.float32]], answer: int = 0) -> list[float]:
    with session.run("serving_default", [PackedTensor(1, memory.shape, memory.view(np.uint8).data)], True) as answers:
        return np.frombuffer(answers[answer].data, "<f4").tolist()  # type: ignore[no-any-return]


def aligned(rows: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Memory that TensorFlow would use in place."""
    raw = np.zeros(4 * rows + 64, np.uint8)
    skip = -raw.__array_interface__["data"][0] % 64
    return raw[skip : skip + 4 * rows].view("<f4")


@pytest.mark.usefixtures("only_runs_tell")
def test_packed_runs(load: object) -> None:
    session: Session = load("keeps_input")  # type: ignore[operator]
    memory = aligned(ROWS)
    expected: list[float] = []
    for value in (1.0, 2.0, 3.0, 4.0):
        memory[:] = value
        assert run(session, memory) == expected
        expected = [value] * ROWS
    assert session.endpoints("serving_default").keeps_inputs is True
    session.unload()


@pytest.mark.usefixtures("only_runs_tell")
@pytest.mark.parametrize("learnt", [False, True])
def test_rows(load: object, learnt: bool) -> None:
    session: Session = load("keeps_input")  # type: ignore[operator]
    memory, answers = aligned(ROWS), aligned(ROWS)
    memory[:] = 1.0
    if learnt:
        run(session, memory)
    function = session.row_function("serving_default", FORM, inline=True)
    source, target = (array.__array_interface__["data"][0] for array in (memory, answers))
    function.run(ROWS, [source], [(ROWS, [target])])
    for value in (2.0, 3.0, 4.0):
        before = memory[0]
        memory[:] = value
        assert function.run(ROWS, [source], [(ROWS, [target])])
        assert answers.tolist() == [before] * ROWS
    session.unload()


def test_what_changes_state_keeps_what_it_likes(load: object) -> None:
    """The first run keeps nothing, and says nothing of the others."""
    session: Session = load("keeps_positive")  # type: ignore[operator]
    memory = aligned(ROWS)
    before: list[list[float]] = []
    for value in (-1.0, 2.0, -3.0, 4.0, -5.0):
        memory[:] = value
        before.append(run(session, memory, answer=1))
    assert before == [[], [], [2.0] * ROWS, [2.0] * ROWS, [4.0] * ROWS]
    session.unload()


def test_a_graph_that_keeps_nothing_borrows(load: object) -> None:
    session: Session = load("half_plus_two")  # type: ignore[operator]
    memory = aligned(ROWS)
    assert run(session, memory) == [2.0] * ROWS
    assert session.endpoints("serving_default").keeps_inputs is False
    session.unload()
