"""Questions for gRPC servers, with random numbers and the answers to just these; the client does little for each."""

from __future__ import annotations

import random
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from end_to_end.grpc_load import Asking, Question
from ringserve.example_request_writer import example_request
from ringserve.model_spec_writer import model_spec_field
from ringserve.predict_request_writer import Input, predict_request
from ringserve.predict_response_reader import read_predict_response
from ringserve.protos import message_module
from ringserve.tensor import BY_NAME

PREDICT: Final = "/tensorflow.serving.PredictionService/Predict"
CLASSIFY: Final = "/tensorflow.serving.PredictionService/Classify"
REGRESS: Final = "/tensorflow.serving.PredictionService/Regress"

Array = npt.NDArray[Any]
_NUMPY_NAMES: Final = {"float": "float32", "double": "float64"}
_WIRE_NAMES: Final = {name: wire for wire, name in _NUMPY_NAMES.items()}


def predict_message(model: str, version: int | None = None, signature: str = "", **inputs: Array | list[bytes]) -> bytes:
    """A PredictRequest; the inputs' types and shapes are the arrays'."""
    spec = model_spec_field(model, version, None, signature)
    tensors: list[Input] = []
    for alias, value in inputs.items():
        if isinstance(value, list):
            tensors.append((alias, BY_NAME["string"], (len(value),), value))
        else:
            name = _WIRE_NAMES.get(value.dtype.name, value.dtype.name)
            tensors.append((alias, BY_NAME[name], value.shape, value))
    return predict_request(spec, tensors)


def floats(chance: random.Random, *shape: int) -> Array:
    """Random ones, quickly."""
    count = int(np.prod(shape))
    return (np.frombuffer(chance.randbytes(4 * count), "u4") >> 8).astype("f4").reshape(shape) / np.float32(1 << 12)


def output(message: bytes, alias: str = "y") -> Array:
    """One output's numbers, in a row."""
    return np.asarray(read_predict_response(message).outputs[alias].values)


def differs(message: bytes, **rights: Array | list[bytes]) -> str:
    """What of a PredictResponse is not as it has to be."""
    outputs = read_predict_response(message).outputs
    for alias, right in rights.items():
        got = outputs[alias]
        if isinstance(right, list):
            if list(got.values) != right:
                return f"{alias} {got.values!r}, not {right}"
        elif tuple(got.shape) != right.shape or np.asarray(got.values).tobytes() != right.tobytes():
            return f"{alias} {got.shape} {got.values!r}, not {right.shape} {right!r}"
    return "" if len(outputs) == len(rights) else f"outputs {list(outputs)}"


def halves(model: str = "half_plus_two", *offsets: float, most_rows: int = 5) -> Asking:
    """To a model that answers x / 2 + one of the offsets (3), which is the same for all numbers of a request."""

    def ask(chance: random.Random) -> Question:
        numbers = floats(chance, chance.randint(1, most_rows))
        request = predict_message(model, x=numbers)
        rights = [numbers / 2 + np.float32(offset) for offset in offsets or (3.0,)]

        def wrong(message: bytes) -> str:
            found = ""
            for right in rights:
                found = differs(message, y=right)
                if not found:
                    break
            return found

        return Question(model, PREDICT, request, wrong)

    return ask


def prepared(asking: Asking, count: int) -> Asking:
    """Any of so many questions, made beforehand: a client that does hardly more than to send and compare."""
    chance = random.Random(count)
    questions = [asking(chance) for _ in range(count)]
    return lambda chance: chance.choice(questions)


def one_column(chance: random.Random) -> Question:
    numbers = floats(chance, chance.randint(1, 5), 1)
    request = predict_message("half_plus_two_2d", x=numbers)
    return Question("half_plus_two_2d", PREDICT, request, lambda message: differs(message, y=numbers / 2 + 2))


def two_inputs(chance: random.Random) -> Question:
    rows = chance.randint(1, 4)
    a = np.floor(floats(chance, rows, 3))
    b = np.array([chance.randrange(1 << 20) for _ in range(rows)], "i4")
    request = predict_message("two_inputs", a=a, b=b)
    sums = a + b[:, None].astype("f4")
    return Question("two_inputs", PREDICT, request, lambda message: differs(message, sum=sums, count=b.astype("i8")))


def text(chance: random.Random) -> Question:
    words = ["".join(chance.choices("abcdefgh", k=chance.randrange(40))).encode() for _ in range(chance.randint(1, 4))]
    upper = [word.upper() for word in words]
    lengths = np.array([len(word) for word in words], "i4")
    request = predict_message("text", x=words)
    return Question(
        "text", PREDICT, request, lambda message: differs(message, length=lengths, upper=upper, upper_bytes=upper)
    )


def same(signature: str) -> Asking:
    """To the signature of `identity` that has this type."""

    def ask(chance: random.Random) -> Question:
        name = _NUMPY_NAMES.get(signature, signature)
        numbers = floats(chance, chance.randint(1, 6), 2).astype(name)
        request = predict_message("identity", signature=signature, x=numbers)
        return Question(f"identity {signature}", PREDICT, request, lambda message: differs(message, y=numbers))

    return ask


def batch_dependent(chance: random.Random) -> Question:
    """Each row is measured against the mean of its own request: with a neighbour's rows in it, all would be wrong."""
    numbers = np.floor(floats(chance, 2 ** chance.randint(0, 3)) / 4)
    request = predict_message("batch_dependent", x=numbers)
    return Question("batch_dependent", PREDICT, request, lambda message: differs(message, y=numbers - numbers.mean()))


def example_message(model: str, signature: str, numbers: Array) -> bytes:
    """A ClassificationRequest or RegressionRequest with an Example for each number."""
    kind = message_module("tensorflow.core.example.example_pb2").Example
    examples = []
    for number in numbers.tolist():
        example = kind()
        example.features.feature["x"].float_list.value.append(number)
        examples.append(example.SerializeToString())
    return example_request(model_spec_field(model, None, None, signature), examples)


def regress(chance: random.Random) -> Question:
    """To upstream's own half_plus_two, by its name on the server."""
    numbers = floats(chance, chance.randint(1, 3))
    right = (numbers / 2 + 2).tolist()

    def wrong(message: bytes) -> str:
        answer = message_module("tensorflow_serving.apis.regression_pb2").RegressionResponse.FromString(message)
        got = [entry.value for entry in answer.result.regressions]
        return "" if got == right else f"{got}, not {right}"

    return Question("regress", REGRESS, example_message("default", "regress_x_to_y", numbers), wrong)


def classify(chance: random.Random) -> Question:
    """As `regress`."""
    numbers = floats(chance, chance.randint(1, 3))
    right = (numbers / 2 + 2).tolist()

    def wrong(message: bytes) -> str:
        answer = message_module("tensorflow_serving.apis.classification_pb2").ClassificationResponse.FromString(message)
        got = [entry.classes[0].score for entry in answer.result.classifications]
        return "" if got == right else f"{got}, not {right}"

    return Question("classify", CLASSIFY, example_message("default", "classify_x_to_y", numbers), wrong)
