"""Server options: the conflicts TensorFlow Serving refuses, in its words, and the ranges of values."""

import dataclasses
import pickle
from typing import Any

import pytest

from ringserve.errors import Code, ServingError
from ringserve.options import ServerOptions

GOOD = ServerOptions(model_base_path="/models/m")


def refusal(**changes: Any) -> str:
    with pytest.raises(ServingError) as caught:
        dataclasses.replace(GOOD, **changes).validate()
    assert caught.value.code is Code.INVALID_ARGUMENT
    return caught.value.message


def test_good_options_pass() -> None:
    GOOD.validate()
    ServerOptions(model_config_file="/models.config").validate()
    ServerOptions(model_config_file="/models.config", model_base_path="/models/m").validate()


def test_options_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        GOOD.port = 1  # type: ignore[misc]


def test_nothing_to_serve() -> None:
    text = "Both server_options.model_base_path and server_options.model_config_file are empty!"
    assert refusal(model_base_path="") == text


def test_neither_port_nor_socket() -> None:
    text = "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set."
    assert refusal(port=0) == text
    dataclasses.replace(GOOD, port=0, grpc_socket_path="/run/grpc.sock").validate()


def test_alts_and_ssl() -> None:
    text = "Either use_alts_credentials must be false or ssl_config_file must be empty."
    assert refusal(use_alts_credentials=True, ssl_config_file="/ssl") == text
    dataclasses.replace(GOOD, ssl_config_file="/ssl").validate()


def test_a_batching_file_without_batching() -> None:
    assert refusal(batching_parameters_file="/batching") == (
        "server_options.batching_parameters_file is set without setting server_options.enable_batching to true."
    )
    dataclasses.replace(GOOD, batching_parameters_file="/batching", enable_batching=True).validate()


def test_all_three_parallelism_flags() -> None:
    assert refusal(
        tensorflow_session_parallelism=1, tensorflow_intra_op_parallelism=1, tensorflow_inter_op_parallelism=1
    ) == (
        "Either configure server_options.tensorflow_session_parallelism or "
        "(server_options.tensorflow_intra_op_parallelism, server_options.tensorflow_inter_op_parallelism) "
        "separately. You cannot configure all."
    )
    dataclasses.replace(GOOD, tensorflow_session_parallelism=1, tensorflow_intra_op_parallelism=1).validate()


def test_a_platform_file_replaces_batching_and_session_flags() -> None:
    dataclasses.replace(
        GOOD,
        platform_config_file="/platform",
        batching_parameters_file="/batching",
        tensorflow_session_parallelism=1,
        tensorflow_intra_op_parallelism=1,
        tensorflow_inter_op_parallelism=1,
    ).validate()


@pytest.mark.parametrize(
    ("name", "good", "bad", "words"),
    [
        ("port", [1, 65535], [-1, 65536], "must be from 0 to 65535"),
        ("rest_api_port", [0, 65535], [-1, 65536], "must be from 0 to 65535"),
        ("zmq_port", [0, 8502, 65535], [-1, 65536], "must be from 0 to 65535"),
        ("rest_frontends", [1, 8], [0, -1], "must be at least 1"),
        ("max_request_bytes", [1, 2**40], [0, -1], "must be at least 1"),
        ("order", ["fifo", "edf"], ["", "lifo"], "must be one of fifo, edf"),
        ("batching", ["", "adaptive", "off"], ["on", "Off"], "must be one of adaptive, static, off"),
        ("log_level", ["debug", "error"], ["", "INFO", "loud"], "must be one of debug, info, warning"),
    ],
)
def test_ranges(name: str, good: list[Any], bad: list[Any], words: str) -> None:
    for value in good:
        dataclasses.replace(GOOD, **{name: value}).validate()
    for value in bad:
        text = refusal(**{name: value})
        assert text.startswith(f"server_options.{name} {words}")
        assert text.endswith(f"not {value}.")


@pytest.mark.parametrize(
    ("changes", "mode"),
    [
        ({}, "adaptive"),
        ({"enable_batching": True}, "static"),
        ({"enable_batching": True, "batching": "static"}, "static"),
        ({"enable_batching": True, "batching": "adaptive"}, "adaptive"),
        ({"batching": "adaptive"}, "adaptive"),
        ({"batching": "off"}, "off"),
        ({"enable_batching": True, "platform_config_file": "/platform"}, "adaptive"),
        ({"enable_batching": True, "platform_config_file": "/platform", "batching": "off"}, "off"),
    ],
)
def test_how_requests_are_joined(changes: dict[str, Any], mode: str) -> None:
    options = dataclasses.replace(GOOD, **changes)
    options.validate()
    assert options.batching_mode == mode


def test_batching_that_is_off_and_enabled() -> None:
    text = "server_options.batching is off although server_options.enable_batching is true."
    assert refusal(batching="off", enable_batching=True) == text


@pytest.mark.parametrize("changes", [{}, {"enable_batching": True, "platform_config_file": "/platform"}])
def test_static_batching_without_parameters(changes: dict[str, Any]) -> None:
    assert refusal(batching="static", **changes) == (
        "server_options.batching is static, but batching is not enabled: set server_options.enable_batching to true, "
        "without server_options.platform_config_file."
    )


def test_how_long_a_request_may_be_held_back() -> None:
    dataclasses.replace(GOOD, max_linger_micros=0).validate()
    assert refusal(max_linger_micros=-1) == "server_options.max_linger_micros must not be negative, but is -1."


@pytest.mark.parametrize("name", ["grpc_frontends", "zmq_frontends"])
def test_front_ends_may_be_none_and_not_fewer(name: str) -> None:
    none: dict[str, Any] = {name: 0}
    dataclasses.replace(GOOD, **none).validate()
    assert refusal(**{name: -1}) == f"server_options.{name} must not be negative, but is -1."


def test_allowed_keys_without_a_key_of_the_servers() -> None:
    assert refusal(zmq_curve_allowed_keys_file="/keys") == (
        "server_options.zmq_curve_allowed_keys_file is set without setting server_options.zmq_curve_secret_key_file."
    )
    dataclasses.replace(GOOD, zmq_curve_allowed_keys_file="/keys", zmq_curve_secret_key_file="/key").validate()


def test_devices_follow_their_grammar() -> None:
    dataclasses.replace(GOOD, devices="gpu:0,1").validate()
    assert "cpu:N" in refusal(devices="cpu")


def test_an_error_reads_as_code_and_text_and_crosses_processes() -> None:
    error = ServingError(Code.INVALID_ARGUMENT, "text")
    assert str(error) == "INVALID_ARGUMENT: text"
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.code, copy.message, str(copy)) == (error.code, error.message, str(error))


def test_codes_are_the_canonical_ones() -> None:
    assert [code.value for code in Code] == list(range(17))
    assert (Code.OK, Code.NOT_FOUND, Code.UNAVAILABLE, Code.UNAUTHENTICATED) == (0, 5, 14, 16)
