"""Server flags: every upstream flag in both forms, the grammar, and what its errors say."""

import os
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringserve.flags import FLAGS, UsageError, parse, usage, without_effect
from ringserve.options import ServerOptions

CPUS = len(os.sched_getaffinity(0))

# TensorFlow Serving's own table: name, type, default. Written out, so that a slip in ours shows.
UPSTREAM = [
    ("port", "int32", 8500),
    ("grpc_socket_path", "string", ""),
    ("rest_api_port", "int32", 0),
    ("rest_api_num_threads", "int32", 4 * CPUS),
    ("rest_api_timeout_in_ms", "int32", 30000),
    ("rest_api_enable_cors_support", "bool", False),
    ("enable_batching", "bool", False),
    ("batching_parameters_file", "string", ""),
    ("enable_per_model_batching_parameters", "bool", False),
    ("allow_version_labels_for_unavailable_models", "bool", False),
    ("model_config_file", "string", ""),
    ("model_config_file_poll_wait_seconds", "int32", 0),
    ("model_name", "string", "default"),
    ("model_base_path", "string", ""),
    ("num_load_threads", "int32", 0),
    ("num_unload_threads", "int32", 0),
    ("max_num_load_retries", "int32", 5),
    ("load_retry_interval_micros", "int64", 60000000),
    ("file_system_poll_wait_seconds", "int32", 1),
    ("flush_filesystem_caches", "bool", True),
    ("tensorflow_session_parallelism", "int64", 0),
    ("tensorflow_intra_op_parallelism", "int64", 0),
    ("tensorflow_inter_op_parallelism", "int64", 0),
    ("tensorflow_session_config_file", "string", ""),
    ("per_process_gpu_memory_fraction", "float", 0.0),
    ("saved_model_tags", "string", "serve"),
    ("platform_config_file", "string", ""),
    ("enable_model_warmup", "bool", True),
    ("num_request_iterations_for_warmup", "int32", 0),
    ("remove_unused_fields_from_bundle_metagraph", "bool", True),
    ("prefer_tflite_model", "bool", False),
    ("num_tflite_pools", "int32", CPUS),
    ("num_tflite_interpreters_per_pool", "int32", 1),
    ("mixed_precision", "string", ""),
    ("enable_signature_method_name_check", "bool", False),
    ("use_alts_credentials", "bool", False),
    ("ssl_config_file", "string", ""),
    ("grpc_channel_arguments", "string", ""),
    ("grpc_max_threads", "int32", 4 * CPUS),
    ("enable_grpc_healthcheck_service", "bool", False),
    ("enable_profiler", "bool", True),
    ("monitoring_config_file", "string", ""),
    ("thread_pool_factory_config_file", "string", ""),
    ("xla_cpu_compilation_enabled", "bool", False),
    ("xla_gpu_compilation_enabled", "bool", False),
    ("skip_initialize_tpu", "bool", False),
    ("enable_serialization_as_tensor_content", "bool", False),
    ("version", "bool", False),
]
OURS = [
    ("devices", "string", "auto"),
    ("aspired_version_policy", "string", "availability_preserving"),
    ("total_model_memory_limit_bytes", "int64", 0),
    ("batching", "string", ""),
    ("max_linger_micros", "int64", 2000),
    ("order", "string", "fifo"),
    ("startup_timeout", "int32", 300),
    ("reload_timeout", "int32", 300),
    ("model_cache_dir", "string", ""),
    ("admin_socket", "string", ""),
    ("rest_frontends", "int32", 1),
    ("grpc_frontends", "int32", 1),
    ("zmq_port", "int32", 8502),
    ("zmq_endpoint", "string", ""),
    ("zmq_frontends", "int32", 1),
    ("zmq_curve_secret_key_file", "string", ""),
    ("zmq_curve_allowed_keys_file", "string", ""),
    ("shm_socket", "string", ""),
    ("max_request_bytes", "int64", 268435456),
    ("log_level", "string", "info"),
]
EFFECTIVE = {
    "port",
    "grpc_socket_path",
    "grpc_frontends",
    "grpc_max_threads",
    "grpc_channel_arguments",
    "enable_grpc_healthcheck_service",
    "ssl_config_file",
    "use_alts_credentials",
    "rest_api_port",
    "rest_api_timeout_in_ms",
    "rest_api_enable_cors_support",
    "model_name",
    "model_base_path",
    "model_config_file",
    "model_config_file_poll_wait_seconds",
    "allow_version_labels_for_unavailable_models",
    "num_load_threads",
    "num_unload_threads",
    "max_num_load_retries",
    "load_retry_interval_micros",
    "enable_batching",
    "batching_parameters_file",
    "enable_per_model_batching_parameters",
    "enable_model_warmup",
    "num_request_iterations_for_warmup",
    "file_system_poll_wait_seconds",
    "tensorflow_session_parallelism",
    "tensorflow_intra_op_parallelism",
    "tensorflow_inter_op_parallelism",
    "tensorflow_session_config_file",
    "per_process_gpu_memory_fraction",
    "saved_model_tags",
    "enable_signature_method_name_check",
    "enable_serialization_as_tensor_content",
    "monitoring_config_file",
    "version",
    *(name for name, _, _ in OURS),
}
SAMPLES: dict[str, tuple[str, object]] = {
    "int32": ("-7", -7),
    "int64": ("5000000000", 5_000_000_000),
    "float": ("0.25", 0.25),
    "string": ("a=b c", "a=b c"),
}

every_flag = pytest.mark.parametrize(("name", "kind", "default"), UPSTREAM + OURS)


def refusal(*argv: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse(argv)
    return str(caught.value)


@every_flag
def test_type_and_default_are_upstreams(name: str, kind: str, default: object) -> None:
    assert (FLAGS[name].type, FLAGS[name].default) == (kind, default)
    value = getattr(parse([]).options, name)
    assert value == default
    assert type(value) is type(default)


@every_flag
def test_both_forms_are_accepted(name: str, kind: str, default: object) -> None:
    text, expected = SAMPLES.get(kind, ("false" if default else "true", not default))
    for argv in ([f"--{name}={text}"], [f"--{name}", text]):
        line = parse(argv)
        assert getattr(line.options, name) == expected
        assert line.given == (name,)


def test_flags_and_options_have_the_same_names() -> None:
    assert set(FLAGS) == {field.name for field in fields(ServerOptions)}
    assert set(FLAGS) == {name for name, _, _ in UPSTREAM + OURS}


def test_effective_flags() -> None:
    assert {name for name, flag in FLAGS.items() if flag.effective} == EFFECTIVE


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--enable_batching"], True),
        (["--enable_batching=TRUE"], True),
        (["--enable_batching=1"], True),
        (["--enable_batching=False"], False),
        (["--enable_batching=0"], False),
        (["--enable_batching", "true"], True),
        (["--enable_batching", "False"], False),
        (["--enable_batching", "0"], False),
        (["--enable_batching", "--port=1"], True),
    ],
)
def test_booleans(argv: list[str], expected: bool) -> None:
    assert parse(argv).options.enable_batching is expected


def test_a_bare_boolean_leaves_other_words_alone() -> None:
    assert refusal("--enable_batching", "yes").startswith("unexpected argument yes")


def test_the_last_occurrence_wins_and_is_listed_once() -> None:
    line = parse(["--port=1", "--model_name=a", "--port", "2"])
    assert line.options.port == 2
    assert line.given == ("port", "model_name")


def test_a_commands_own_default_yields_to_the_flag() -> None:
    defaults = {"rest_api_port": 8501}
    assert parse([], defaults).options.rest_api_port == 8501
    assert parse([], defaults).given == ()
    assert parse(["--rest_api_port=0"], defaults).options.rest_api_port == 0


def test_empty_strings_are_values() -> None:
    assert parse(["--model_name="]).options.model_name == ""
    assert parse(["--model_name", ""]).options.model_name == ""


@pytest.mark.parametrize(
    ("word", "suggestion"),
    [
        ("--model_bas_path", "--model_base_path"),
        ("--model-base-path", "--model_base_path"),
        ("--noenable_batching", "--enable_batching"),
        ("-port", "--port"),
    ],
)
def test_unknown_flags_name_the_nearest(word: str, suggestion: str) -> None:
    for argv in ([word], [f"{word}=x"]):
        assert refusal(*argv) == f"unknown flag {word} (did you mean {suggestion}?)"


def test_an_unknown_flag_like_no_other() -> None:
    assert refusal("--zzz=1") == "unknown flag --zzz"


@pytest.mark.parametrize("word", ["serve", "-", "--", ""])
def test_stray_arguments_are_refused(word: str) -> None:
    assert refusal(word) == f"unexpected argument {word} (flags look like --name=value)"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("port", "abc", "an integer from -2147483648 to 2147483647"),
        ("port", "", "an integer from -2147483648 to 2147483647"),
        ("port", "1_000", "an integer from -2147483648 to 2147483647"),
        ("port", "2147483648", "an integer from -2147483648 to 2147483647"),
        ("port", "8500.0", "an integer from -2147483648 to 2147483647"),
        ("port", "\u0663", "an integer from -2147483648 to 2147483647"),
        (
            "load_retry_interval_micros",
            "9223372036854775808",
            "an integer from -9223372036854775808 to 9223372036854775807",
        ),
        ("per_process_gpu_memory_fraction", "half", "a number"),
        ("per_process_gpu_memory_fraction", "nan", "a number"),
        ("per_process_gpu_memory_fraction", "1e999", "a number"),
        ("enable_batching", "yes", "true, false, 1 or 0"),
        ("enable_batching", "", "true, false, 1 or 0"),
    ],
)
def test_malformed_values(name: str, text: str, expected: str) -> None:
    message = f"Couldn't interpret value {text} for flag {name}. Expected {expected}."
    assert refusal(f"--{name}={text}") == message


def test_a_value_is_never_another_flag() -> None:
    assert refusal("--model_name", "--port=1") == "flag --model_name needs a value (a text)"
    assert refusal("--model_name") == "flag --model_name needs a value (a text)"


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_ends_the_reading(word: str) -> None:
    assert parse(["--port=1", word, "--no_such_flag"]).help
    assert not parse(["--port=1"]).help


def test_flags_without_effect_are_told_once_each() -> None:
    line = parse(["--prefer_tflite_model", "--model_name=m", "--port=1", "--prefer_tflite_model=false"])
    assert without_effect(line.given) == [
        "--prefer_tflite_model is accepted, but has no effect yet",
    ]
    assert without_effect(parse([]).given) == []


def test_usage_fits_the_screen_and_has_every_flag_once() -> None:
    lines = usage("tensorflow_model_server").splitlines()
    assert max(map(len, lines)) <= 100
    listed = [(line[0], line.split("--")[1].split()[0]) for line in lines if line[2:4] == "--"]
    assert listed == [(" " if flag.effective else "*", name) for name, flag in FLAGS.items()]


def test_usage_shows_the_commands_own_default() -> None:
    assert "[8501]" in usage("ringserve serve", {"rest_api_port": 8501})
    assert "[8501]" not in usage("tensorflow_model_server")


@given(st.integers(-(2**63), 2**63 - 1))
def test_integers_come_back_as_written(number: int) -> None:
    for argv in ([f"--max_request_bytes={number}"], ["--max_request_bytes", str(number)]):
        assert parse(argv).options.max_request_bytes == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_come_back_as_written(number: float) -> None:
    assert parse([f"--per_process_gpu_memory_fraction={number!r}"]).options.per_process_gpu_memory_fraction == number


_words = st.one_of(
    st.text(max_size=12),
    st.sampled_from([*(f"--{name}" for name in FLAGS), "true", "1", "-h", "--"]),
    st.builds("--{}={}".format, st.sampled_from(sorted(FLAGS)), st.text(max_size=8)),
)


@given(st.lists(_words, max_size=6))
def test_any_words_give_options_or_one_clear_refusal(argv: list[str]) -> None:
    try:
        line = parse(argv)
    except UsageError as error:
        assert str(error)
    else:
        assert isinstance(line.options, ServerOptions)
        assert set(line.given) <= set(FLAGS)
