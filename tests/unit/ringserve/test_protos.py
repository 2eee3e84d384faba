"""TensorFlow's messages without TensorFlow, each case in a fresh process: what is imported stays imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

CONFIG = "tensorflow_serving.config.model_server_config_pb2"


def run(program: str) -> str:
    """What the program prints; its last expression is meant to be an assertion."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("tensorflow.core.protobuf.config_pb2", "ConfigProto"),
        ("tensorflow.core.protobuf.meta_graph_pb2", "MetaGraphDef"),
        ("tensorflow.core.framework.tensor_pb2", "TensorProto"),
        ("tensorflow.core.example.example_pb2", "Example"),
        (CONFIG, "ModelServerConfig"),
        ("tensorflow_serving.apis.predict_pb2", "PredictRequest"),
    ],
)
def test_messages_come_without_the_library(module: str, message: str) -> None:
    run(
        "from ringserve.protos import message_module\n"
        f"made = message_module({module!r}).{message}()\n"
        "assert type(made).FromString(made.SerializeToString()) == made\n"
        "maps = open('/proc/self/maps').read()\n"
        "assert 'libtensorflow' not in maps, maps\n"
    )


def test_a_second_call_gives_the_same_module() -> None:
    run(
        "from ringserve.protos import message_module\n"
        f"first = message_module({CONFIG!r})\n"
        "message_module('tensorflow.core.protobuf.config_pb2')\n"
        f"assert message_module({CONFIG!r}) is first\n"
    )


def test_where_the_real_package_is_imported_already_it_is_left_alone() -> None:
    run(
        "import sys, types\n"
        "real = sys.modules['tensorflow'] = types.ModuleType('tensorflow')\n"
        "sys.modules['tensorflow.thing_pb2'] = thing = types.ModuleType('tensorflow.thing_pb2')\n"
        "from ringserve.protos import message_module\n"
        "assert message_module('tensorflow.thing_pb2') is thing\n"
        "assert sys.modules['tensorflow'] is real and 'tensorflow.core' not in sys.modules\n"
    )


def test_without_the_package_the_error_says_so() -> None:
    printed = run(
        "import importlib.util\n"
        "importlib.util.find_spec = lambda name: None\n"
        "from ringserve.protos import message_module\n"
        "try:\n"
        f"    message_module({CONFIG!r})\n"
        "except ModuleNotFoundError as error:\n"
        "    print(error)\n"
    )
    assert printed == "the tensorflow package is not installed\n"
