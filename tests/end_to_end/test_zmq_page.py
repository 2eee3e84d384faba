"""What docs/zmq.md shows is true: its client runs, and its bytes are a request."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgpack
import numpy as np
import pytest
import zmq

from end_to_end.running_server import RunningServer

PAGE = (Path(__file__).parents[2] / "docs" / "zmq.md").read_text()
MOST_LINES = 50


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    base = tmp_path_factory.mktemp("half_plus_two")
    (base / "1").symlink_to(models / "half_plus_two" / "1")  # its other version adds another number
    with RunningServer("--model_name=half_plus_two", f"--model_base_path={base}", zmq=True) as running:
        yield running


def test_the_client_of_the_page(server: RunningServer) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(program.splitlines()) <= MOST_LINES
    program = program.replace("127.0.0.1:8502", f"127.0.0.1:{server.zmq_port}")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.stderr) == ("[2.5 3.  4.5]\n", "")


def test_the_bytes_of_the_page(server: RunningServer) -> None:
    (dump,) = re.findall(r"```\n(84 .*?)```", PAGE, re.DOTALL)
    message = bytes.fromhex("".join(re.split(r" {2,}", line)[0] for line in dump.splitlines()))
    x = np.array([1, 2, 5], np.float32)
    request = {"v": 1, "model": "half_plus_two", "id": 7, "inputs": [["x", "float", x.shape, x.tobytes()]]}
    assert message == msgpack.packb(request)
    assert f"takes {len(message)} bytes" in " ".join(PAGE.split())
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.linger = 0
        socket.connect(f"tcp://127.0.0.1:{server.zmq_port}")
        socket.send(message)
        assert socket.poll(10_000)
        answer = msgpack.unpackb(socket.recv())
    assert (answer["id"], np.frombuffer(answer["outputs"][0][3], "f4").tolist()) == (7, [2.5, 3.0, 4.5])
