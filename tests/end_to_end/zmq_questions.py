"""Questions for ZeroMQ servers, with random numbers and the answers to just these."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial

import numpy as np

from end_to_end.grpc_questions import floats
from end_to_end.zmq_client import Array, Fields, differs, outputs, predicting, tensor
from end_to_end.zmq_load import Asking, Question
from ringserve.protos import message_module

_NUMPY = {"float": "f4", "double": "f8", "half": "f2"}


def checked(**rights: Array | list[bytes]) -> partial[str]:
    def wrong(answer: Fields, frames: Sequence[bytes]) -> str:
        return differs(answer, frames, **rights)

    return partial(wrong)


def halves(
    model: str = "half_plus_two", *offsets: float, most_rows: int = 5, version: int | None = None, each: bool = False
) -> Asking:
    """To a model that answers x / 2 + one of the offsets (3), which is the same for all numbers of a request."""

    def ask(chance: random.Random) -> Question:
        numbers = floats(chance, chance.randint(1, most_rows))
        fields = predicting(
            model, {"x": numbers}, **({} if version is None else {"version": version}), **({"each": True} if each else {})
        )
        rights = [numbers / 2 + np.float32(offset) for offset in offsets or (3.0,)]

        def wrong(answer: Fields, frames: Sequence[bytes]) -> str:
            if answer.get("errors"):
                return f"errors {answer['errors'][:3]}"
            return min((differs(answer, frames, y=right) for right in rights), key=len)

        return Question(f"{model} {'each' if each else version or ''}", fields, wrong)

    return ask


def one_row(chance: random.Random) -> Question:
    """What most clients send: messages of one pattern."""
    numbers = floats(chance, 1, 1)
    return Question("one row", predicting("half_plus_two_2d", {"x": numbers}), checked(y=numbers / 2 + 2))


def prepared(asking: Asking, count: int) -> Asking:
    """Any of so many questions, made beforehand."""
    chance = random.Random(count)
    questions = [asking(chance) for _ in range(count)]
    return lambda chance: chance.choice(questions)


def in_a_frame(chance: random.Random) -> Question:
    """The answer too, where it is large enough."""
    numbers = floats(chance, chance.choice([1, 100, 20_000, 40_000]))
    fields = {"model": "half_plus_two", "version": 1, "inputs": [tensor("x", numbers, 0)]}
    return Question("in a frame", fields, checked(y=numbers / 2 + 2), [numbers.tobytes()])


def two_inputs(chance: random.Random) -> Question:
    rows = chance.randint(1, 4)
    a = np.floor(floats(chance, rows, 3))
    b = np.array([chance.randrange(1 << 20) for _ in range(rows)], "i4")
    chosen = chance.choice([[], ["sum"], ["count", "sum"]])
    rights = {"sum": a + b[:, None].astype("f4"), "count": b.astype("i8")}
    fields = predicting("two_inputs", {"a": a, "b": b}, outputs=chosen)
    return Question("two_inputs", fields, checked(**{name: rights[name] for name in chosen or rights}))


def text(chance: random.Random) -> Question:
    words = ["".join(chance.choices("abcdefgh", k=chance.randrange(40))).encode() for _ in range(chance.randint(1, 4))]
    upper = [word.upper() for word in words]
    lengths = np.array([len(word) for word in words], "i4")
    return Question("text", predicting("text", {"x": words}), checked(length=lengths, upper=upper, upper_bytes=upper))


def same(signature: str) -> Asking:
    """To the signature of `identity` that has this type."""

    def ask(chance: random.Random) -> Question:
        numbers = floats(chance, chance.randint(1, 6), 2).astype(_NUMPY.get(signature, signature))
        fields = predicting("identity", {"x": numbers}, signature=signature)
        if signature == "int64" and chance.random() < 0.5:
            fields["each"] = True
        return Question(f"identity {signature}", fields, checked(y=numbers))

    return ask


def batch_dependent(chance: random.Random) -> Question:
    """Each row is measured against the mean of its own request: with a neighbour's rows in it, all would be wrong."""
    numbers = np.floor(floats(chance, 2 ** chance.randint(0, 3)) / 4)
    return Question("batch_dependent", predicting("batch_dependent", {"x": numbers}), checked(y=numbers - numbers.mean()))


def alone_together(chance: random.Random) -> Question:
    """Portions of a model that measures each against its own mean."""
    size = 2 ** chance.randint(0, 2)
    numbers = np.floor(floats(chance, size * chance.randint(1, 5)) / 4)
    right = numbers - numbers.reshape(-1, size).mean(axis=1).repeat(size)
    return Question("portions", predicting("batch_dependent", {"x": numbers}, each=size), checked(y=right.astype("f4")))


def roots(chance: random.Random) -> Question:
    """Some of them fail, and nobody else does."""
    numbers = np.floor(floats(chance, chance.randint(1, 9)) % 30)
    sent = numbers**2
    bad = {index for index in range(len(sent)) if chance.random() < 0.1}
    for index in bad:
        sent[index], numbers[index] = -1, 0

    def wrong(answer: Fields, frames: Sequence[bytes]) -> str:
        got = {index for index, *_ in answer.get("errors", ())}
        if got != bad:
            return f"errors {got}, not {bad}"
        found = outputs(answer, frames)["y"]
        return "" if np.array_equal(found, numbers) else f"{found}, not {numbers}"

    return Question("roots", predicting("fails_on_negative", {"x": sent}, each=True), wrong)


def regress(chance: random.Random) -> Question:
    return _examples("regress", chance)


def classify(chance: random.Random) -> Question:
    return _examples("classify", chance)


def _examples(call: str, chance: random.Random) -> Question:
    """To upstream's own half_plus_two, by its name on the server."""
    numbers = floats(chance, chance.randint(1, 3))
    kind = message_module("tensorflow.core.example.example_pb2").Example
    examples = []
    for number in numbers.tolist():
        example = kind()
        example.features.feature["x"].float_list.value.append(number)
        examples.append(example.SerializeToString())
    values = (numbers / 2 + 2).tolist()
    right = values if call == "regress" else [[["", value]] for value in values]

    def wrong(answer: Fields, _: Sequence[bytes]) -> str:
        got = answer["values" if call == "regress" else "rows"]
        return "" if got == right else f"{got}, not {right}"

    return Question(call, {"call": call, "model": "default", "signature": f"{call}_x_to_y", "examples": examples}, wrong)


def models(_: random.Random) -> Question:
    return Question(
        "models", {"call": "models"}, lambda answer, _: "" if "half_plus_two" in answer["models"] else str(answer)
    )
