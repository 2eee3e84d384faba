"""Batching parameters: fields, defaults and limits of the server's file and of versions' own, and upstream's texts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringserve.batching_messages import parameters_message
from ringserve.batching_parameters import BatchingParameters, check_queue, server_parameters, version_parameters
from ringserve.errors import Code, ServingError
from ringserve.options import ServerOptions

CPUS = len(os.sched_getaffinity(0))

# Upstream's own sample, and every field.
SAMPLE = """
max_batch_size { value: 128 }
batch_timeout_micros { value: 0 }
max_enqueued_batches { value: 1000000 }
num_batch_threads { value: 8 }
"""
EVERY_FIELD = """
max_batch_size { value: 64 }
batch_timeout_micros { value: 5000 }
max_enqueued_batches { value: 7 }
num_batch_threads { value: 3 }
thread_pool_name { value: "pool" }
allowed_batch_sizes: 16
allowed_batch_sizes: 64
pad_variable_length_inputs: true
enable_large_batch_splitting { value: true }
max_execution_batch_size { value: 16 }
"""
ALL_GIVEN = BatchingParameters(64, 5000, 7, 3, "pool", (16, 64), True, True, 16)


def of_server(tmp_path: Path, text: str) -> BatchingParameters:
    file = tmp_path / "batching.config"
    file.write_text(text)
    found = server_parameters(ServerOptions(enable_batching=True, batching_parameters_file=str(file)))
    assert found is not None
    return found


def refused(**fields: Any) -> str:
    with pytest.raises(ServingError) as caught:
        check_queue(BatchingParameters(**fields))
    assert caught.value.code is Code.INVALID_ARGUMENT
    return caught.value.message


def test_without_batching_there_are_none() -> None:
    assert server_parameters(ServerOptions()) is None
    # The platform file carries its own; the flags are not looked at.
    options = ServerOptions(enable_batching=True, platform_config_file="/platform", batching_parameters_file="/none")
    assert server_parameters(options) is None


def test_without_a_file_all_are_defaults() -> None:
    found = server_parameters(ServerOptions(enable_batching=True))
    assert found == BatchingParameters(
        max_batch_size=1000,
        batch_timeout_micros=0,
        max_enqueued_batches=10,
        num_batch_threads=CPUS,
        thread_pool_name="model_server_batch_threads",
        allowed_batch_sizes=(),
        pad_variable_length_inputs=False,
        enable_large_batch_splitting=False,
        max_execution_batch_size=1000,
    )
    check_queue(found)


def test_a_file_replaces_all_defaults_and_the_pools_name(tmp_path: Path) -> None:
    assert of_server(tmp_path, "# nothing\n") == BatchingParameters(thread_pool_name="batch_threads")
    assert of_server(tmp_path, SAMPLE) == BatchingParameters(128, 0, 1_000_000, 8, "batch_threads")


def test_every_field(tmp_path: Path) -> None:
    found = of_server(tmp_path, EVERY_FIELD)
    assert found == ALL_GIVEN
    check_queue(found)


def test_the_message_is_upstreams_on_the_wire_too() -> None:
    message = parameters_message()
    for name, value in (("max_batch_size", 5), ("thread_pool_name", "x"), ("enable_large_batch_splitting", True)):
        getattr(message, name).value = value
    message.allowed_batch_sizes.extend([1, 5])
    message.pad_variable_length_inputs = True
    assert message.SerializeToString() == b"\x0a\x02\x08\x05\x2a\x03\x0a\x01x\x32\x02\x01\x05\x38\x01\x42\x02\x08\x01"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("max_batch_size: 128", "1:17 "),  # a message, not a number
        ("allowed_batch_sizes { value: 1 }", "1:21 "),
        ("max_batch_size { value: 1 }\nmax_batch { value: 1 }", "2:1 "),
        ("max_batch_size { value: 9223372036854775808 }", "1:25 "),
        ("num_batch_threads { value: -", "1:28 "),
    ],
)
def test_a_text_that_cannot_be_parsed(tmp_path: Path, text: str, place: str) -> None:
    with pytest.raises(ServingError) as caught:
        of_server(tmp_path, text)
    start = f"Invalid protobuf file: '{tmp_path}/batching.config': "
    start += "Error parsing text-format tensorflow.serving.BatchingParameters: "
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.message.startswith(start + place)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ServingError) as caught:
        server_parameters(ServerOptions(enable_batching=True, batching_parameters_file=f"{tmp_path}/none"))
    assert str(caught.value) == f"NOT_FOUND: {tmp_path}/none; No such file or directory"


@pytest.mark.parametrize("threads", [0, -1])
def test_fewer_threads_than_one_fail_the_server(tmp_path: Path, threads: int) -> None:
    with pytest.raises(ServingError) as caught:
        of_server(tmp_path, f"num_batch_threads {{ value: {threads} }}")
    assert (caught.value.code, caught.value.message) == (
        Code.INVALID_ARGUMENT,
        f"num_batch_threads must be positive; was {threads}",
    )


def test_what_fails_a_version_does_not_fail_the_server(tmp_path: Path) -> None:
    found = of_server(tmp_path, "max_batch_size { value: 0 } batch_timeout_micros { value: -1 }")
    assert (found.max_batch_size, found.batch_timeout_micros) == (0, -1)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"max_batch_size": 0}, "input_batch_size_limit must be positive; was 0"),
        ({"max_batch_size": -4}, "input_batch_size_limit must be positive; was -4"),
        ({"batch_timeout_micros": -1}, "batch_timeout_micros must be non-negative; was -1"),
        ({"max_enqueued_batches": -1}, "max_enqueued_batches must be positive; was -1"),
        (
            {"max_enqueued_batches": 0, "enable_large_batch_splitting": True},
            "max_enqueued_batches must be positive; was 0",
        ),
        (
            {"max_batch_size": 10, "max_execution_batch_size": 20, "enable_large_batch_splitting": True},
            "When enable_large_batch_splitting is true, input_batch_size_limit must be greater than or equal to "
            "max_execution_batch_size.11020",
        ),
        (
            {"max_execution_batch_size": -1, "enable_large_batch_splitting": True},
            "max_execution_batch_size must be positive; was -1",
        ),
        (
            {"max_batch_size": 2, "allowed_batch_sizes": (1, 3)},
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 3; expected 2",
        ),
        (
            {"allowed_batch_sizes": (8, 16)},  # upstream's default stands for a size that is not given
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 16; expected 1000",
        ),
        (
            # Not with the largest batch that is run, as the server upstream.
            {
                "max_batch_size": 8,
                "max_execution_batch_size": 4,
                "enable_large_batch_splitting": True,
                "allowed_batch_sizes": (2, 4),
            },
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expected 8",
        ),
        (
            {"max_batch_size": 4, "allowed_batch_sizes": (2, 1, 4)},
            "allowed_batch_sizes entries must be monotonically increasing",
        ),
        (
            {"max_batch_size": 4, "allowed_batch_sizes": (4, 4)},
            "allowed_batch_sizes entries must be monotonically increasing",
        ),
        (
            {"max_batch_size": 4, "allowed_batch_sizes": (0, 4)},
            "allowed_batch_sizes entries must be positive; was 0",
        ),
    ],
)
def test_what_no_queue_can_be(fields: dict[str, Any], text: str) -> None:
    assert refused(**fields) == text


@pytest.mark.parametrize(
    "fields",
    [
        {"max_batch_size": 1, "allowed_batch_sizes": (1,)},
        {"max_batch_size": 8, "allowed_batch_sizes": (1, 2, 8)},
        {"batch_timeout_micros": (1 << 63) - 1},
        {"enable_large_batch_splitting": True},
        {"max_batch_size": 8, "max_execution_batch_size": 8, "enable_large_batch_splitting": True},
        {"max_batch_size": 8, "max_execution_batch_size": 3, "enable_large_batch_splitting": True},
        {"max_batch_size": 8, "max_execution_batch_size": 20},  # not looked at
    ],
)
def test_what_a_queue_can_be(fields: dict[str, Any]) -> None:
    check_queue(BatchingParameters(**fields))


def test_no_enqueued_batches_are_one_where_nothing_is_split() -> None:
    assert BatchingParameters(max_enqueued_batches=0).max_enqueued_batches == 1
    assert BatchingParameters(max_enqueued_batches=0, enable_large_batch_splitting=True).max_enqueued_batches == 0


@pytest.mark.parametrize(
    ("fields", "rows"),
    [
        ({}, 1000),
        ({"max_batch_size": 32}, 32),
        ({"max_batch_size": 32, "max_execution_batch_size": 8}, 32),
        ({"max_batch_size": 32, "max_execution_batch_size": 8, "enable_large_batch_splitting": True}, 8),
        ({"max_batch_size": 32, "enable_large_batch_splitting": True}, 32),
        ({"enable_large_batch_splitting": True}, 1000),
    ],
)
def test_the_largest_batch_that_is_run(fields: dict[str, Any], rows: int) -> None:
    assert BatchingParameters(**fields).max_execution_batch_size == rows


class TestOfVersions:
    """Parameters beside each model."""

    SERVER = BatchingParameters(128, 10, 20, 5, "of_the_server", (128,), True)
    PER_MODEL = ServerOptions(enable_batching=True, enable_per_model_batching_parameters=True)

    def test_without_the_flag_all_have_the_servers(self, tmp_path: Path) -> None:
        (tmp_path / "batching_params.pbtxt").write_text("no parameters")
        assert version_parameters(ServerOptions(enable_batching=True), self.SERVER, str(tmp_path)) is self.SERVER

    def test_without_a_file_a_version_is_not_batched(self, tmp_path: Path) -> None:
        assert version_parameters(self.PER_MODEL, self.SERVER, str(tmp_path)) is None
        assert version_parameters(self.PER_MODEL, self.SERVER, "\0 no path at all") is None

    def test_of_the_servers_only_the_threads_count(self, tmp_path: Path) -> None:
        (tmp_path / "batching_params.pbtxt").write_text("max_batch_size { value: 10 }")
        found = version_parameters(self.PER_MODEL, self.SERVER, str(tmp_path))
        assert found == BatchingParameters(10, 0, 10, 5, "of_the_server", (), False)

    def test_its_own_threads_do_not_count(self, tmp_path: Path) -> None:
        (tmp_path / "batching_params.pbtxt").write_text(EVERY_FIELD + "# and more\n")
        found = version_parameters(self.PER_MODEL, self.SERVER, str(tmp_path))
        assert found == BatchingParameters(64, 5000, 7, 5, "of_the_server", (16, 64), True, True, 16)
        (tmp_path / "batching_params.pbtxt").write_text("num_batch_threads { value: 0 }")
        found = version_parameters(self.PER_MODEL, self.SERVER, str(tmp_path))
        assert found is not None and found.num_batch_threads == 5

    def test_a_malformed_file(self, tmp_path: Path) -> None:
        (tmp_path / "batching_params.pbtxt").write_text("max_batch_size { value: many }")
        with pytest.raises(ServingError) as caught:
            version_parameters(self.PER_MODEL, self.SERVER, str(tmp_path))
        assert caught.value.code is Code.INVALID_ARGUMENT
        assert caught.value.message.startswith(f"Invalid protobuf file: '{tmp_path}/batching_params.pbtxt'")


_int64 = st.integers(-(1 << 63), (1 << 63) - 1)
_parameters = st.builds(
    BatchingParameters,
    _int64,
    _int64,
    _int64,
    _int64,
    st.text(max_size=5),
    st.lists(_int64, max_size=4).map(tuple),
    st.booleans(),
    st.booleans(),
    _int64,
)


@given(_parameters)
def test_any_parameters_cross_a_channel(parameters: BatchingParameters) -> None:
    again = BatchingParameters.from_wire(msgpack.unpackb(msgpack.packb(parameters.to_wire())))
    assert again == parameters
    assert isinstance(again.allowed_batch_sizes, tuple)


@given(_parameters)
def test_any_parameters_are_right_or_refused(parameters: BatchingParameters) -> None:
    try:
        check_queue(parameters)
    except ServingError as error:
        assert error.code is Code.INVALID_ARGUMENT
    else:
        assert 1 <= parameters.max_execution_batch_size <= parameters.max_batch_size
        assert parameters.max_enqueued_batches >= 1
