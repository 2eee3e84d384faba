"""Models as TensorFlow Serving's own integration test exports them, asked as it asks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from end_to_end.conftest import write_config
from end_to_end.grpc_stubs import Stubs, floats, model_spec, predict_request
from end_to_end.running_server import RunningServer

MAKER = Path(__file__).parents[1] / "models" / "make_upstream_exports.py"
NAMES = ("saved_by_save", "two_signatures", "keras_identity", "mirrored")


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stubs]:
    folder = tmp_path_factory.mktemp("exports")
    subprocess.run([sys.executable, str(MAKER), str(folder)], check=True, capture_output=True, timeout=120)
    flag = write_config(folder / "models.config", {name: folder / name for name in NAMES})
    with RunningServer(flag, grpc=True) as server, Stubs(server.grpc_port) as found:
        yield found


@pytest.mark.parametrize(
    ("model", "signature", "shape", "expected"),
    [
        ("saved_by_save", "", (1,), 12.0),
        ("two_signatures", "custom_signature_key", (1,), 2.0),
        ("two_signatures", "", (1,), 1.0),
        ("keras_identity", "", (1, 1), 2.0),
        ("mirrored", "", (1, 1), 2.0),
    ],
)
def test_predict(stubs: Stubs, model: str, signature: str, shape: tuple[int, ...], expected: float) -> None:
    answer = stubs.call(predict_request(model, {"x": floats(2.0, shape=shape)}, signature))
    assert list(answer.outputs) == ["y"]
    assert answer.outputs["y"].dtype == 1
    assert list(answer.outputs["y"].float_val) == [expected]
    assert answer.model_spec == model_spec(model, 123, signature or "serving_default")


def test_any_rank(stubs: Stubs) -> None:
    """None was declared."""
    for shape in ((), (4,), (2, 2), (1, 1, 4)):
        values = [1.0, 2.0, 3.0, 4.0][: 4 if shape else 1]
        output = stubs.call(predict_request("saved_by_save", {"x": floats(*values, shape=shape)})).outputs["y"]
        assert [dim.size for dim in output.tensor_shape.dim] == list(shape)
        assert list(output.float_val) == [6 * value for value in values]
        constant = stubs.call(predict_request("two_signatures", {"x": floats(*values, shape=shape)})).outputs["y"]
        assert ([*constant.tensor_shape.dim], list(constant.float_val)) == ([], [1.0])
