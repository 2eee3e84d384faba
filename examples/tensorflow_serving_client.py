"""TensorFlow Serving's own client package with the example models: reads handwritten digits and counts the errors.

``python -m examples.tensorflow_serving_client``, while ``make serve`` runs. As ``mnist_client.py`` of TensorFlow
Serving's tutorial does, it makes a call for each image, several at a time, and takes the answers in a callback.
"""

import argparse
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import numpy as np
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from examples.digits import load
from examples.quiet_tensorflow import tf

DEFAULT_SERVER = "localhost:8500"
SECONDS = 5.0


class ResultCounter:
    """Counts answers and errors, and holds back further calls while enough are under way."""

    def __init__(self, tests: int, concurrency: int) -> None:
        self._tests = tests
        self._concurrency = concurrency
        self._active = 0
        self._done = 0
        self._errors = 0
        self._condition = threading.Condition()

    def throttle(self) -> None:
        """Wait until another call may begin, and count it."""
        with self._condition:
            self._condition.wait_for(lambda: self._active < self._concurrency)
            self._active += 1

    def count(self, right: bool) -> None:
        """An answer has come."""
        with self._condition:
            self._active -= 1
            self._done += 1
            self._errors += not right
            self._condition.notify_all()

    def error_rate(self) -> float:
        """Of all answers; waits for the last."""
        with self._condition:
            self._condition.wait_for(lambda: self._done == self._tests)
            return self._errors / self._tests


def rpc_callback(label: int, counter: ResultCounter) -> Callable[[Any], None]:
    """What is called with the finished call for an image of that digit."""

    def callback(result_future: Any) -> None:
        right = False
        try:
            scores = np.array(result_future.result().outputs["scores"].float_val)
            right = int(scores.argmax()) == label
        except grpc.RpcError as error:
            print(f"{error.code().name}: {error.details()}", file=sys.stderr)
        finally:
            counter.count(right)

    return callback


def error_rate(server: str, tests: int, concurrency: int) -> float:
    """Of the model ``mnist``, on images it has not learnt from."""
    digits = load()
    images, labels = digits.held_out[:tests], digits.held_out_labels[:tests]
    counter = ResultCounter(len(images), concurrency)
    with grpc.insecure_channel(server) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for image, label in zip(images, labels, strict=True):
            request = predict_pb2.PredictRequest()
            request.model_spec.name = "mnist"
            request.model_spec.signature_name = "predict_images"
            request.inputs["images"].CopyFrom(tf.make_tensor_proto(image, shape=[1, image.size]))
            counter.throttle()
            result_future = stub.Predict.future(request, SECONDS)
            result_future.add_done_callback(rpc_callback(int(label), counter))
        return counter.error_rate()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the error rate."""
    parser = argparse.ArgumentParser(prog="python -m examples.tensorflow_serving_client")
    parser.add_argument("--server", default=DEFAULT_SERVER, help="host:port (%(default)s)")
    parser.add_argument("--num_tests", type=int, default=450, help="images to try, at most 450 (%(default)s)")
    parser.add_argument("--concurrency", type=int, default=8, help="calls at a time (%(default)s)")
    options = parser.parse_args(arguments)
    if options.num_tests < 1 or options.concurrency < 1:
        parser.error("--num_tests and --concurrency begin at 1")
    print(f"Inference error rate: {error_rate(options.server, options.num_tests, options.concurrency):.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
