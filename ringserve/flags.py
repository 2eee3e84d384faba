"""Server flags: the table of what `--name` means, the parser, and the help text made from the table."""

import math
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

from ringserve.options import Int32, Int64, ServerOptions

Value = bool | int | float | str

# The flags that do something in this version. The others are accepted, so that a command line written for
# TensorFlow Serving starts, and each one given is named in the log.
_EFFECTIVE = frozenset(
    {
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
        "batching",
        "max_linger_micros",
        "order",
        "enable_model_warmup",
        "num_request_iterations_for_warmup",
        "aspired_version_policy",
        "total_model_memory_limit_bytes",
        "startup_timeout",
        "reload_timeout",
        "model_cache_dir",
        "admin_socket",
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
        "devices",
        "rest_frontends",
        "zmq_port",
        "zmq_endpoint",
        "zmq_frontends",
        "zmq_curve_secret_key_file",
        "zmq_curve_allowed_keys_file",
        "shm_socket",
        "max_request_bytes",
        "log_level",
    }
)

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)
_BITS = {"int32": 32, "int64": 64}
_TYPE_NAMES: dict[object, str] = {Int32: "int32", Int64: "int64", str: "string", bool: "bool", float: "float"}
_TYPES = {field.name: _TYPE_NAMES[field.type] for field in fields(ServerOptions)}
_DEFAULTS = ServerOptions()


class UsageError(Exception):
    """A command line that cannot be understood; the text is one line for its author."""


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag. `type` is int32, int64, float, bool or string; type and default come from ServerOptions."""

    name: str
    type: str
    default: Value
    help: str
    group: str
    effective: bool

    def interpret(self, text: str) -> Value:
        """The value `text` stands for. Raises UsageError, saying what was expected."""
        value = _convert(self.type, text)
        if value is None:
            expected = f"Expected {_expected(self.type)}."
            raise UsageError(f"Couldn't interpret value {text} for flag {self.name}. {expected}")
        return value


def _group(title: str, /, **helps: str) -> Iterator[Flag]:
    for name, text in helps.items():
        yield Flag(name, _TYPES[name], getattr(_DEFAULTS, name), text, title, name in _EFFECTIVE)


FLAGS: Mapping[str, Flag] = {
    flag.name: flag
    for flag in (
        *_group(
            "Models",
            model_name="name of the single model",
            model_base_path="its path, holding one folder a version",
            model_config_file="ModelServerConfig text file, several models",
            model_config_file_poll_wait_seconds="re-read the file this often; 0 = never",
            file_system_poll_wait_seconds="look for new versions this often",
            saved_model_tags="tags to load, comma-separated",
            allow_version_labels_for_unavailable_models="label versions before loaded",
            reload_timeout="s to wait for new models; 0 = no limit",
            model_cache_dir="copies of remote models; default ~/.cache/ringserve",
        ),
        *_group(
            "Loading",
            num_load_threads="loads at a time; 0 = CPUs, at least 4",
            num_unload_threads="unloads at a time; 0 = no limit",
            aspired_version_policy="or resource_preserving",
            total_model_memory_limit_bytes="refuse loads beyond; 0 = none",
            startup_timeout="s to wait for models; 0 = no limit",
            max_num_load_retries="retries after a failed load",
            load_retry_interval_micros="pause between retries, in us",
            flush_filesystem_caches="drop file caches after loading",
            enable_model_warmup="replay the model's warmup requests",
            num_request_iterations_for_warmup="times to replay them, if > 0",
            remove_unused_fields_from_bundle_metagraph="trim graphs kept in memory",
        ),
        *_group(
            "REST",
            rest_api_port="port on all interfaces; 0 = off",
            rest_api_timeout_in_ms="time limit of a request; <= 0 = none",
            rest_frontends="front-end processes sharing the port",
            max_request_bytes="largest request body",
            rest_api_num_threads="threads for requests",
            rest_api_enable_cors_support="send CORS headers",
        ),
        *_group(
            "gRPC",
            port="port; 0 = only grpc_socket_path",
            grpc_socket_path="UNIX socket to listen on as well",
            grpc_frontends="processes sharing the port; 0 = no gRPC",
            grpc_max_threads="threads for large messages",
            grpc_channel_arguments="key=value,key=value",
            enable_grpc_healthcheck_service="always on here",
            enable_profiler="profiler service",
            enable_serialization_as_tensor_content="tensor_content in protobuf answers",
            ssl_config_file="SSLConfig text file; TLS",
            use_alts_credentials="Google ALTS",
        ),
        *_group(
            "ZeroMQ and local clients",
            zmq_port="port on 127.0.0.1; 0 = off",
            zmq_endpoint="others, tcp:// or ipc://, comma-separated",
            zmq_frontends="processes sharing them; 0 = no ZeroMQ",
            zmq_curve_secret_key_file="the server's key; turns CURVE on",
            zmq_curve_allowed_keys_file="clients' public keys, one a line",
            shm_socket="UNIX socket of shm:// clients",
        ),
        *_group(
            "Batching",
            enable_batching="batch by parameters, not adaptively",
            batching_parameters_file="BatchingParameters text file",
            enable_per_model_batching_parameters="read them beside each model",
            batching="adaptive, static or off",
            max_linger_micros="longest wait of adaptive batching",
            order="of requests: fifo, or edf by deadline",
        ),
        *_group(
            "Devices and TensorFlow",
            devices="auto, cpu:N workers, or gpu:0,1",
            tensorflow_session_parallelism="threads, intra- and inter-op; 0 = auto",
            tensorflow_intra_op_parallelism="threads inside an op; 0 = auto",
            tensorflow_inter_op_parallelism="ops at a time; 0 = auto",
            tensorflow_session_config_file="ConfigProto text file",
            per_process_gpu_memory_fraction="of each GPU; 0 = TensorFlow decides",
            platform_config_file="PlatformConfigMap text file",
            mixed_precision="bfloat16",
            enable_signature_method_name_check="check method names of signatures",
            prefer_tflite_model="use model.tflite where there is one",
            num_tflite_pools="interpreters a TFLite model",
            num_tflite_interpreters_per_pool="> 1 batches inside",
            thread_pool_factory_config_file="ThreadPoolFactoryConfig text file",
            xla_cpu_compilation_enabled="compile with XLA for CPU",
            xla_gpu_compilation_enabled="compile with XLA for CPU and GPU",
            skip_initialize_tpu="do not set up TPUs",
        ),
        *_group(
            "Server",
            admin_socket="UNIX socket of `ringserve models`; none = off",
            log_level="debug, info, warning, error or critical",
            monitoring_config_file="MonitoringConfig text file; Prometheus",
            version="print versions and exit",
        ),
    )
}


@dataclass(frozen=True, slots=True)
class CommandLine:
    """What an argument vector says; `given` names the flags in it, each once, in order of appearance."""

    options: ServerOptions
    given: tuple[str, ...]
    help: bool


def parse(argv: Sequence[str], defaults: Mapping[str, Value] | None = None) -> CommandLine:
    """Reads `--name=value` and `--name value` words; the last one of a name wins, --help ends the reading.

    `defaults` are a command's own, where they differ from those of ServerOptions.
    Raises UsageError for an unknown flag, a value of the wrong type and anything that is no flag.
    """
    values: dict[str, Value] = {}
    words = deque(argv)
    wants_help = False
    while words and not wants_help:
        word = words.popleft()
        if word in ("-h", "--help"):
            wants_help = True
            continue
        name, equals, text = word.partition("=")
        flag = _find(name)
        values[flag.name] = flag.interpret(text if equals else _next_value(flag, words))
    fields_given: dict[str, Any] = {**(defaults or {}), **values}  # each interpreted by its own field's type
    return CommandLine(ServerOptions(**fields_given), tuple(values), wants_help)


def without_effect(given: Sequence[str]) -> list[str]:
    """One line for each flag given that this version accepts and does nothing with."""
    return [f"--{name} is accepted, but has no effect yet" for name in given if not FLAGS[name].effective]


def usage(command: str, defaults: Mapping[str, Value] | None = None) -> str:
    """The help text: the flags by group, one line each."""
    lines = [f"usage: {command} [--flag=value | --flag value | --switch] ..."]
    width = max(map(len, FLAGS))
    group = ""
    for flag in FLAGS.values():
        if flag.group != group:
            group = flag.group
            lines += ["", f"{group}:"]
        mark = " " if flag.effective else "*"
        shown = _shown((defaults or {}).get(flag.name, flag.default))
        lines.append(f"{mark} --{flag.name:{width}}  {flag.help}{shown}")
    return "\n".join([*lines, "", "* accepted as TensorFlow Serving does, no effect yet"])


def _shown(default: Value) -> str:
    if default == "" or default is False:
        return ""
    return f" [{str(default).lower()}]"


def _find(name: str) -> Flag:
    if not name.startswith("-") or name in ("-", "--"):
        raise UsageError(f"unexpected argument {name} (flags look like --name=value)")
    flag = FLAGS.get(name[2:]) if name.startswith("--") else None
    if flag is None:
        near = get_close_matches(name.strip("-"), FLAGS, n=1)
        raise UsageError(f"unknown flag {name}" + (f" (did you mean --{near[0]}?)" if near else ""))
    return flag


def _next_value(flag: Flag, words: deque[str]) -> str:
    """The value of a flag written without `=`: the next word; a switch takes it only if it is a boolean."""
    if flag.type == "bool":
        return words.popleft() if words and words[0].lower() in _BOOLEANS else "true"
    if not words or words[0].startswith("--"):
        raise UsageError(f"flag --{flag.name} needs a value ({_expected(flag.type)})")
    return words.popleft()


def _convert(type_name: str, text: str) -> Value | None:
    """None for a text that is no value of the type. Stricter than int() and float(): no `1_000`, no `nan`."""
    if type_name == "string":
        return text
    if type_name == "bool":
        return _BOOLEANS.get(text.lower())
    if type_name == "float":
        number = float(text) if _NUMBER.fullmatch(text) else math.inf
        return number if math.isfinite(number) else None
    if not re.fullmatch(r"[+-]?[0-9]{1,20}", text):
        return None
    limit = 1 << (_BITS[type_name] - 1)
    return int(text) if -limit <= int(text) < limit else None


def _expected(type_name: str) -> str:
    if type_name in _BITS:
        limit = 1 << (_BITS[type_name] - 1)
        return f"an integer from {-limit} to {limit - 1}"
    return {"bool": "true, false, 1 or 0", "float": "a number", "string": "a text"}[type_name]
