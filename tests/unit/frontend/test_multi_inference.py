"""MultiInference: the tasks' checks in order, one run for each task, and all results or none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from example_messages import example
from example_requests import (
    ONE,
    MultiInferenceRequest,
    MultiInferenceResponse,
    answer,
    open_lane,
    serve,
    set_examples,
    set_spec,
)
from front_end_stage import Stage, refusal, stage, until
from made_outputs import classify_signature, numbers, regress_signature, tensor_spec, texts
from worker_side import WorkerSide, on_loop

from frontend.bodies.body_options import BodyOptions
from frontend.grpc.multi_inference import MultiInference
from ringserve.channel import Message
from ringserve.errors import Code, ServingError
from ringserve.predict_request import CLASSIFY, REGRESS
from ringserve.signature import DEFAULT_SIGNATURE, Signature
from ringserve.signature_text import signature_text
from shm.packed import unpack_strings

BOTH = classify_signature("classes", "scores")
NUMBER = regress_signature()
FLOATS = Signature("floats", REGRESS, (tensor_spec("inputs", "float"),), NUMBER.outputs)
HALF = Signature("half", "odd", (tensor_spec("x", "string"),), NUMBER.outputs)
ODD = regress_signature("odd", "odd")
TASKS = (("regress", REGRESS), ("classify", CLASSIFY))

Task = tuple[str, str] | tuple[str, str, dict[str, Any]]


def request(*tasks: Task, examples: Any = (ONE,), context: Any = None, **first: Any) -> bytes:
    """Tasks: a signature, a method, and what else their specs say; `first`: what else that of the first does."""
    made = MultiInferenceRequest()
    for signature, method, *rest in tasks:
        said: dict[str, Any] = {**(rest[0] if rest else {}), **({} if made.tasks else first)}
        set_spec(made.tasks.add(method_name=method).model_spec, signature=signature, **said)
    set_examples(made.input, *examples, context=context)
    serialised: bytes = made.SerializeToString()
    return serialised


class Served:
    """Versions of the model m with these signatures, and lanes to two of them of the first version."""

    def __init__(self, on: Stage, regress: WorkerSide, classify: WorkerSide) -> None:
        self.on = on
        self.regress = regress
        self.classify = classify

    def ask(self, message: bytes, timeout: int = 0, key: str | None = None, **options: Any) -> asyncio.Task[bytes]:
        method = MultiInference(self.on.front_end, BodyOptions(**options))
        return asyncio.ensure_future(method(message, timeout, time.monotonic_ns(), key))

    async def refused(self, message: bytes, **options: Any) -> tuple[Code, str]:
        return await refusal(self.ask(message, **options))

    async def both_wait(self) -> None:
        await until(lambda: self.regress.consumer.waiting and self.classify.consumer.waiting)

    def counted(self) -> dict[tuple[str, ...], int]:
        """By version, signature and code."""
        found: dict[tuple[str, ...], int] = {}
        for family, labels, words in self.on.counters.read():
            if family == "requests":
                _, version, signature, api, entrypoint, code = labels
                assert (api, entrypoint) == ("multi_inference", "GRPC")
                found[version, signature, code] = words[0]
        return found

    async def idle(self) -> None:
        """Nothing waits in a lane, nobody holds a version, and no task is left."""
        await until(lambda: self.on.front_end.idle)
        assert not any(handle.holders for handle in self.on.front_end.catalog._loaded.values())
        await until(lambda: not any("coro=<_outputs()" in repr(task) for task in asyncio.all_tasks()))


@asynccontextmanager
async def served() -> AsyncIterator[Served]:
    async with stage() as on:
        await serve(on, BOTH, NUMBER, FLOATS, HALF, ODD)
        yield Served(on, await open_lane(on, "regress", 1), await open_lane(on, "classify", 2))


# Checks, in their order. Each request has nothing wrong that would be found before.

NO_NAME = (Code.INVALID_ARGUMENT, "ModelSpec has no name specified.")
GONE = (Code.NOT_FOUND, "Servable not found for request: ")
OTHER_MODEL = "All ModelSpecs in a MultiInferenceRequest must access the same model name."
REFUSED: list[tuple[bytes, Code, str]] = [
    (b"", *NO_NAME),
    (MultiInferenceRequest(tasks=[{"method_name": CLASSIFY}]).SerializeToString(), *NO_NAME),
    (request(("nope", "nope"), name=""), *NO_NAME),
    (request(("nope", "nope"), name="n"), GONE[0], GONE[1] + "Latest(n)"),
    (request(("nope", "nope"), version=9), GONE[0], GONE[1] + "Specific(m, 9)"),
    (request(("nope", "nope"), version=0), GONE[0], GONE[1] + "Specific(m, 0)"),
    (request(("nope", "nope"), label="l"), Code.INVALID_ARGUMENT, "Unrecognized servable version label: l"),
    (
        request(TASKS[0], ("nope", "nope", {"name": ""})),
        Code.INVALID_ARGUMENT,
        "Found ModelSpec with an empty model name.",
    ),
    (request(TASKS[0], ("regress", "nope", {"name": "n"})), Code.INVALID_ARGUMENT, OTHER_MODEL),
    (
        request(TASKS[0], ("regress", CLASSIFY)),
        Code.INVALID_ARGUMENT,
        "Duplicate evaluation of signature: regress",
    ),
    (
        request(("nope", "nope")),
        Code.INVALID_ARGUMENT,
        "Requested signature not found in model graph: nope",
    ),
    (
        request(TASKS[0], ("", REGRESS)),
        Code.INVALID_ARGUMENT,
        f"Requested signature not found in model graph: {DEFAULT_SIGNATURE}",
    ),
    (
        request(TASKS[0], ("half", "tensorflow/serving/predict"), examples=()),
        Code.UNIMPLEMENTED,
        "Unsupported signature method_name: tensorflow/serving/predict",
    ),
    (request(("regress", "")), Code.UNIMPLEMENTED, "Unsupported signature method_name: "),
    (
        request(TASKS[0], ("half", REGRESS), examples=()),
        Code.INVALID_ARGUMENT,
        f"No regression inputs found in SignatureDef: {signature_text(HALF)}",
    ),
    (
        request(("half", CLASSIFY), examples=()),
        Code.INVALID_ARGUMENT,
        f"No classification inputs found in SignatureDef: {signature_text(HALF)}",
    ),
    (
        request(("regress", CLASSIFY)),
        Code.INVALID_ARGUMENT,
        'Expected classification signature outputs to contain at least one of "classes" or "scores". '
        f"Signature was: {signature_text(NUMBER)}",
    ),
    (request(("classify", REGRESS)), Code.INVALID_ARGUMENT, "Expected one output Tensor."),
    (request(*TASKS, ("floats", REGRESS), examples=()), Code.INVALID_ARGUMENT, "Input is empty."),
    (request(*TASKS, examples=(), context=ONE), Code.INVALID_ARGUMENT, "Input is empty."),
    (
        request(*TASKS, ("floats", REGRESS)),
        Code.INVALID_ARGUMENT,
        "Expects arg[0] to be float but string is provided",
    ),
]


@pytest.mark.parametrize(("message", "code", "text"), REFUSED)
@on_loop
async def test_requests_that_are_refused(message: bytes, code: Code, text: str) -> None:
    async with served() as at:
        assert await at.refused(message) == (code, text)
        assert not at.regress.consumer.waiting and not at.classify.consumer.waiting
        await at.idle()
        assert {labels[2] for labels in at.counted()} == {code.name}


@on_loop
async def test_the_same_signature_by_default_and_by_name() -> None:
    async with stage() as on:
        await serve(on, regress_signature(DEFAULT_SIGNATURE))
        method = MultiInference(on.front_end, BodyOptions())
        message = request(("", REGRESS), (DEFAULT_SIGNATURE, REGRESS))
        text = "Duplicate evaluation of signature: serving_default"
        asked = asyncio.ensure_future(method(message, 0, time.monotonic_ns()))
        assert await refusal(asked) == (Code.INVALID_ARGUMENT, text)


@on_loop
async def test_signatures_methods_count_only_with_the_flag() -> None:
    async with served() as at:
        text = "Expected regression signature method_name to be tensorflow/serving/regress. Was: odd"
        message = request(TASKS[0], ("odd", REGRESS))
        assert await at.refused(message, check_method=True) == (Code.INVALID_ARGUMENT, text)
        odd = await open_lane(at.on, "odd", 3)
        task = at.ask(message)
        await until(lambda: at.regress.consumer.waiting and odd.consumer.waiting)
        answer(at.on, odd, numbers([1.0]))
        answer(at.on, at.regress, numbers([2.0]))
        results = MultiInferenceResponse.FromString(await task).results
        assert [result.regression_result.regressions[0].value for result in results] == [2.0, 1.0]


@pytest.mark.parametrize("bad", [b"\xff", b"\x0a\xff", b"\x0a\x03\x12\x01\xff"])
@on_loop
async def test_what_is_no_message(bad: bytes) -> None:
    async with served() as at:
        code, text = await at.refused(bad)
        assert code is Code.INVALID_ARGUMENT and "MultiInferenceRequest" in text
        assert at.counted() == {("", "", "INVALID_ARGUMENT"): 1}


@on_loop
async def test_short_messages_that_stand_for_much() -> None:
    async with served() as at:
        message = request(*TASKS, examples=[example()] * 2000, context=example(x=[b"y" * 1000]))
        assert (await at.refused(message, most_bytes=1 << 20))[0] is Code.RESOURCE_EXHAUSTED
        assert (await at.refused(message, most_bytes=100))[0] is Code.RESOURCE_EXHAUSTED
        await at.idle()


# Runs.


@on_loop
async def test_results_come_in_the_order_of_the_tasks() -> None:
    async with served() as at:
        task = at.ask(request(*TASKS, examples=[example(x=[2.0]), example()], context=example(z=[1])))
        await at.both_wait()
        rows = [unpack_strings(worker.request()[0].data, 2) for worker in (at.regress, at.classify)]
        context = example(z=[1]).SerializeToString()
        assert rows[0] == rows[1] == [context + example(x=[2.0]).SerializeToString(), context]
        answer(at.on, at.classify, texts((2, 2), b"a", b"b", b"a", b"b"), numbers([[0.5, 1], [2, 0]]))
        answer(at.on, at.regress, numbers([[3.0], [4.0]]))
        response = MultiInferenceResponse.FromString(await task)
        regress, classify = response.results
        assert [one.value for one in regress.regression_result.regressions] == [3.0, 4.0]
        found = [[(one.label, one.score) for one in row.classes] for row in classify.classification_result.classifications]
        assert found == [[("a", 0.5), ("b", 1.0)], [("a", 2.0), ("b", 0.0)]]
        for result, name in ((regress, "regress"), (classify, "classify")):
            spec = result.model_spec
            assert (spec.name, spec.version.value, spec.signature_name) == ("m", 1, name)
        await at.idle()
        assert at.counted() == {("1", "regress", "OK"): 1, ("1", "classify", "OK"): 1}


@on_loop
async def test_the_default_signature_is_named_in_the_result() -> None:
    async with stage() as on:
        await serve(on, regress_signature(DEFAULT_SIGNATURE))
        worker = await open_lane(on, DEFAULT_SIGNATURE, 1)
        method = MultiInference(on.front_end, BodyOptions())
        task = asyncio.ensure_future(method(request(("", REGRESS)), 0, time.monotonic_ns()))
        await until(lambda: worker.consumer.waiting)
        answer(on, worker, numbers([1.0]))
        (result,) = MultiInferenceResponse.FromString(await task).results
        assert result.model_spec.signature_name == DEFAULT_SIGNATURE


@on_loop
async def test_the_first_task_chooses_the_version_for_all() -> None:
    """What the others say of it is ignored."""
    async with served() as at:
        await serve(at.on, BOTH, NUMBER, number=2)
        task = at.ask(request(TASKS[0], (*TASKS[1], {"version": 9}), version=1))
        await at.both_wait()
        answer(at.on, at.regress, numbers([1.0]))
        answer(at.on, at.classify, texts((1, 1), b"a"), numbers([[1.0]]))
        results = MultiInferenceResponse.FromString(await task).results
        assert [result.model_spec.version.value for result in results] == [1, 1]


@on_loop
async def test_a_label_that_is_split_sends_all_tasks_one_way() -> None:
    async with served() as at:
        await serve(at.on, BOTH, NUMBER, number=2)
        others = await open_lane(at.on, "regress", 3, 2), await open_lane(at.on, "classify", 4, 2)
        at.on.say("routing", model="m", labels={"l": [[1, 1.0], [2, 1.0]]}, shadows=[])
        await at.on.heard()
        lanes = {1: (at.regress, at.classify), 2: others}

        def went() -> list[int]:
            return [number for number, pair in lanes.items() if all(lane.consumer.waiting for lane in pair)]

        seen: dict[str, set[int]] = {}
        for key in [str(number) for number in range(12)] * 2:
            task = at.ask(request(*TASKS, label="l"), key=key)
            await until(went)
            (number,) = went()
            answer(at.on, lanes[number][0], numbers([1.0]))
            answer(at.on, lanes[number][1], texts((1, 1), b"a"), numbers([[1.0]]))
            results = MultiInferenceResponse.FromString(await task).results
            assert [result.model_spec.version.value for result in results] == [number] * 2
            assert not any(result.model_spec.version_label for result in results)
            seen.setdefault(key, set()).add(number)
        assert all(len(versions) == 1 for versions in seen.values())
        assert set.union(*seen.values()) == {1, 2}
        await at.idle()


@on_loop
async def test_the_version_may_go_while_its_lanes_are_made() -> None:
    async with stage() as on:
        await serve(on, BOTH, NUMBER)
        method = MultiInference(on.front_end, BodyOptions())
        task = asyncio.ensure_future(method(request(*TASKS), 0, time.monotonic_ns()))
        await until(lambda: on.types().count("want_lane") == 2)
        on.say("retire", servable=["m", 1], call=7)
        await on.heard()
        assert not task.done()
        regress, classify = await open_lane(on, "regress", 1), await open_lane(on, "classify", 2)
        await until(lambda: regress.consumer.waiting and classify.consumer.waiting)
        answer(on, regress, numbers([1.0]))
        answer(on, classify, texts((1, 1), b"a"), numbers([[1.0]]))
        assert len(MultiInferenceResponse.FromString(await task).results) == 2
        await until(lambda: {"type": "answer", "call": 7} in on.told)


# All or nothing.


@on_loop
async def test_one_run_that_fails_fails_all_and_the_others_need_not_run() -> None:
    async with served() as at:
        task = at.ask(request(*TASKS))
        await at.both_wait()
        at.classify.fail(Code.INVALID_ARGUMENT, b"Could not parse example input")
        at.on.bell.ring()
        assert await refusal(task) == (Code.INVALID_ARGUMENT, "Could not parse example input")
        assert at.regress.abandoned(0)
        answer(at.on, at.regress, numbers([1.0]))
        await at.idle()
        assert at.counted() == {("1", name, "INVALID_ARGUMENT"): 1 for name in ("regress", "classify")}


@on_loop
async def test_outputs_that_do_not_fit_in_the_order_of_the_tasks() -> None:
    async with served() as at:
        task = at.ask(request(*TASKS))
        await at.both_wait()
        answer(at.on, at.classify, texts((1,), b"a"), numbers([[1.0]]))
        answer(at.on, at.regress, numbers([1.0, 2.0]))
        text = "Input batch size did not match output batch size: 1 vs. 2"
        assert await refusal(task) == (Code.INVALID_ARGUMENT, text)
        await at.idle()


@on_loop
async def test_a_lane_that_can_not_be_made_drops_what_waits_in_others() -> None:
    async with served() as at:
        task = at.ask(request(*TASKS, ("odd", REGRESS)))
        await at.both_wait()
        await until(lambda: "want_lane" in at.on.types())
        told: Message = {"servable": ["m", 1], "signature": "odd", "inputs": None, "code": 8, "message": "no room"}
        at.on.say("lane_refused", (), **told)
        assert await refusal(task) == (Code.RESOURCE_EXHAUSTED, "no room")
        assert at.regress.abandoned(0) and at.classify.abandoned(0)
        for worker in (at.regress, at.classify):
            answer(at.on, worker, numbers([1.0]))
        await at.idle()


@on_loop
async def test_a_failure_does_not_wait_for_a_lane_that_is_being_made() -> None:
    async with served() as at:
        task = at.ask(request(TASKS[0], ("odd", REGRESS)))
        await until(lambda: at.regress.consumer.waiting and "want_lane" in at.on.types())
        at.regress.fail(Code.INVALID_ARGUMENT, b"no")
        at.on.bell.ring()
        assert await refusal(task) == (Code.INVALID_ARGUMENT, "no")
        await at.idle()
        odd = await open_lane(at.on, "odd", 3)
        await at.on.heard()
        assert not odd.consumer.waiting


@on_loop
async def test_a_deadline_is_for_the_whole() -> None:
    async with served() as at:
        late = at.ask(request(*TASKS), timeout=30_000_000)
        await at.both_wait()
        answer(at.on, at.regress, numbers([1.0]))
        assert await refusal(late) == (Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")
        assert at.classify.abandoned(0)
        over = at.ask(request(*TASKS), timeout=1)
        assert await refusal(over) == (Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")
        answer(at.on, at.classify, numbers([1.0]))
        await at.idle()
        assert at.counted() == {("1", name, "DEADLINE_EXCEEDED"): 2 for name in ("regress", "classify")}


@pytest.mark.parametrize("opened", [True, False])
@on_loop
async def test_a_client_that_goes_away(opened: bool) -> None:
    async with served() as at:
        task = at.ask(request(*(TASKS if opened else (("odd", REGRESS),))))
        if opened:
            await at.both_wait()
        else:
            await until(lambda: "want_lane" in at.on.types())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        if opened:
            assert at.regress.abandoned(0) and at.classify.abandoned(0)
            for worker in (at.regress, at.classify):
                answer(at.on, worker, numbers([1.0]))
        await at.idle()
        signatures = ("regress", "classify") if opened else ("odd",)
        assert at.counted() == {("1", name, "CANCELLED"): 1 for name in signatures}


@on_loop
async def test_a_client_that_goes_away_at_its_deadline() -> None:
    async with served() as at:
        task = at.ask(request(*TASKS), timeout=20_000_000)
        over = time.monotonic_ns() + 20_000_000
        await at.both_wait()
        await until(lambda: time.monotonic_ns() > over)  # deadlines are looked at ten times a second: the client is sooner
        task.cancel()
        with pytest.raises((asyncio.CancelledError, ServingError)):
            await task
        assert at.counted() == {("1", name, "DEADLINE_EXCEEDED"): 1 for name in ("regress", "classify")}


@on_loop
async def test_a_long_message_with_a_long_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are left to a thread."""
    monkeypatch.setattr("frontend.grpc.multi_inference.HEAVY", 10)
    monkeypatch.setattr("frontend.grpc.multi_inference.is_heavy_answer", lambda _: True)
    async with served() as at:
        task = at.ask(request(*TASKS))
        await at.both_wait()
        answer(at.on, at.regress, numbers([1.0]))
        answer(at.on, at.classify, texts((1, 1), b"a"), numbers([[1.0]]))
        assert len(MultiInferenceResponse.FromString(await task).results) == 2
        await at.idle()


@on_loop
async def test_an_error_that_nobody_foresaw(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served() as at:

        def fails(*_: Any) -> Any:
            raise RuntimeError("secret")

        monkeypatch.setattr("frontend.grpc.multi_inference.regression_result", fails)
        task = at.ask(request(*TASKS))
        await at.both_wait()
        answer(at.on, at.regress, numbers([1.0]))
        answer(at.on, at.classify, texts((1, 1), b"a"), numbers([[1.0]]))
        code, text = await refusal(task)
        assert code is Code.INTERNAL and "secret" not in text
        await at.idle()
