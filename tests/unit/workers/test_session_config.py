"""The ConfigProto that the flags make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ringserve.errors import Code, ServingError
from ringserve.options import ServerOptions
from ringserve.protos import message_module
from workers.tf.session_config import config_proto


def parsed(options: ServerOptions) -> Any:
    return message_module("tensorflow.core.protobuf.config_pb2").ConfigProto.FromString(config_proto(options))


def threads(options: ServerOptions) -> tuple[int, int]:
    config = parsed(options)
    return config.intra_op_parallelism_threads, config.inter_op_parallelism_threads


def failure(path: Path) -> ServingError:
    with pytest.raises(ServingError) as caught:
        config_proto(ServerOptions(tensorflow_session_config_file=str(path)))
    return caught.value


def test_no_flag_is_tensorflows_defaults() -> None:
    assert config_proto(ServerOptions()) == b""


@pytest.mark.parametrize(
    ("common", "intra", "inter", "expected"),
    [
        (3, 0, 0, (3, 3)),
        (0, 2, 0, (2, 0)),
        (0, 0, 5, (0, 5)),
        (0, 2, 5, (2, 5)),
        (3, 2, 0, (2, 0)),
        (3, 0, 5, (0, 5)),
    ],
)
def test_thread_counts(common: int, intra: int, inter: int, expected: tuple[int, int]) -> None:
    """Either of the single flags sets the common one aside, also for the other of the two."""
    options = ServerOptions(
        tensorflow_session_parallelism=common,
        tensorflow_intra_op_parallelism=intra,
        tensorflow_inter_op_parallelism=inter,
    )
    assert threads(options) == expected


def test_share_of_the_gpus_memory() -> None:
    config = parsed(ServerOptions(per_process_gpu_memory_fraction=0.25))
    assert config.gpu_options.per_process_gpu_memory_fraction == 0.25
    assert config.intra_op_parallelism_threads == 0


def test_a_file_sets_what_no_flag_does(tmp_path: Path) -> None:
    file = tmp_path / "session.pbtxt"
    file.write_text("allow_soft_placement: true  # and a comment\ngpu_options { allow_growth: true }\n")
    config = parsed(ServerOptions(tensorflow_session_config_file=str(file)))
    assert config.allow_soft_placement
    assert config.gpu_options.allow_growth


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "session.pbtxt"
    file.write_text("intra_op_parallelism_threads: 7 inter_op_parallelism_threads: 8 gpu_options { allow_growth: true }")
    options = ServerOptions(tensorflow_session_config_file=str(file), tensorflow_session_parallelism=2)
    assert threads(options) == (2, 2)
    assert threads(ServerOptions(tensorflow_session_config_file=str(file))) == (0, 0), "given or not"
    options = ServerOptions(tensorflow_session_config_file=str(file), per_process_gpu_memory_fraction=0.5)
    assert parsed(options).gpu_options.allow_growth, "the rest of the file stays"


def test_an_empty_file_is_a_configuration(tmp_path: Path) -> None:
    file = tmp_path / "session.pbtxt"
    file.touch()
    assert threads(ServerOptions(tensorflow_session_config_file=str(file))) == (0, 0)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    error = failure(tmp_path / "nowhere.pbtxt")
    assert (error.code, error.message) == (Code.NOT_FOUND, f"{tmp_path}/nowhere.pbtxt; No such file or directory")


def test_a_folder_instead_of_a_file(tmp_path: Path) -> None:
    assert failure(tmp_path).message == f"{tmp_path}; Is a directory"


@pytest.mark.parametrize(
    "content",
    [b"no_such_field: 1", b"intra_op_parallelism_threads: many", b"gpu_options {", b"\xff\xfe\x00", b"\x08\x01\x10\x02"],
    ids=["unknown field", "no number", "open brace", "no text", "binary"],
)
def test_a_file_that_is_no_configuration(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "session.pbtxt"
    file.write_bytes(content)
    error = failure(file)
    assert error.code == Code.INVALID_ARGUMENT
    assert error.message.startswith(f"Invalid protobuf file: '{file}': ConfigProto expected, ")
