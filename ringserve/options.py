"""Server options: one field per TensorFlow Serving flag, with its default, and our own at the end."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated

from ringserve.devices import parse_devices
from ringserve.errors import Code, ServingError

Int32 = Annotated[int, "int32"]
Int64 = Annotated[int, "int64"]

LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
ASPIRED_VERSION_POLICIES = ("availability_preserving", "resource_preserving")
BATCHING_MODES = ("adaptive", "static", "off")
ORDERS = ("fifo", "edf")
MAX_PORT = 65535

_CHOICES = {
    "aspired_version_policy": ASPIRED_VERSION_POLICIES,
    "batching": ("", *BATCHING_MODES),  # "": as --enable_batching says
    "order": ORDERS,
    "log_level": LOG_LEVELS,
}


def schedulable_cpus() -> int:
    """CPUs this process may run on, which in a container can be fewer than the machine has."""
    return len(os.sched_getaffinity(0))


def _four_a_cpu() -> int:
    return 4 * schedulable_cpus()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Everything the command line can say. The defaults here are the only place they are written down."""

    port: Int32 = 8500
    grpc_socket_path: str = ""
    rest_api_port: Int32 = 0
    rest_api_num_threads: Int32 = field(default_factory=_four_a_cpu)
    rest_api_timeout_in_ms: Int32 = 30_000
    rest_api_enable_cors_support: bool = False
    enable_batching: bool = False
    batching_parameters_file: str = ""
    enable_per_model_batching_parameters: bool = False
    allow_version_labels_for_unavailable_models: bool = False
    model_config_file: str = ""
    model_config_file_poll_wait_seconds: Int32 = 0
    model_name: str = "default"
    model_base_path: str = ""
    num_load_threads: Int32 = 0
    num_unload_threads: Int32 = 0
    max_num_load_retries: Int32 = 5
    load_retry_interval_micros: Int64 = 60_000_000
    file_system_poll_wait_seconds: Int32 = 1
    flush_filesystem_caches: bool = True
    tensorflow_session_parallelism: Int64 = 0
    tensorflow_intra_op_parallelism: Int64 = 0
    tensorflow_inter_op_parallelism: Int64 = 0
    tensorflow_session_config_file: str = ""
    per_process_gpu_memory_fraction: float = 0.0
    saved_model_tags: str = "serve"
    platform_config_file: str = ""
    enable_model_warmup: bool = True
    num_request_iterations_for_warmup: Int32 = 0
    remove_unused_fields_from_bundle_metagraph: bool = True
    prefer_tflite_model: bool = False
    num_tflite_pools: Int32 = field(default_factory=schedulable_cpus)
    num_tflite_interpreters_per_pool: Int32 = 1
    mixed_precision: str = ""
    enable_signature_method_name_check: bool = False
    use_alts_credentials: bool = False
    ssl_config_file: str = ""
    grpc_channel_arguments: str = ""
    grpc_max_threads: Int32 = field(default_factory=_four_a_cpu)
    enable_grpc_healthcheck_service: bool = False
    enable_profiler: bool = True
    monitoring_config_file: str = ""
    thread_pool_factory_config_file: str = ""
    xla_cpu_compilation_enabled: bool = False
    xla_gpu_compilation_enabled: bool = False
    skip_initialize_tpu: bool = False
    enable_serialization_as_tensor_content: bool = False
    version: bool = False
    # Not in TensorFlow Serving:
    devices: str = "auto"
    aspired_version_policy: str = "availability_preserving"
    total_model_memory_limit_bytes: Int64 = 0
    batching: str = ""
    max_linger_micros: Int64 = 2000
    order: str = "fifo"
    startup_timeout: Int32 = 300
    reload_timeout: Int32 = 300
    model_cache_dir: str = ""
    admin_socket: str = ""
    rest_frontends: Int32 = 1
    grpc_frontends: Int32 = 1
    zmq_port: Int32 = 8502
    zmq_endpoint: str = ""
    zmq_frontends: Int32 = 1
    zmq_curve_secret_key_file: str = ""
    zmq_curve_allowed_keys_file: str = ""
    shm_socket: str = ""
    max_request_bytes: Int64 = 256 * 1024 * 1024
    log_level: str = "info"

    @property
    def batching_enabled(self) -> bool:
        """Do batching parameters count? A platform configuration file carries its own, and the flags do nothing then."""
        return self.enable_batching and not self.platform_config_file

    @property
    def batching_mode(self) -> str:
        """One of BATCHING_MODES: how requests are joined."""
        return self.batching or ("static" if self.batching_enabled else "adaptive")

    def validate(self) -> None:
        """Raises ServingError (INVALID_ARGUMENT) for the first conflict or value out of range."""
        for broken, text in (*_conflicts(self), *_ranges(self)):
            if broken:
                raise ServingError(Code.INVALID_ARGUMENT, text)
        parse_devices(self.devices, visible_gpus=lambda: ())  # the grammar only: looks at no hardware


def _conflicts(options: ServerOptions) -> Iterator[tuple[bool, str]]:
    """What TensorFlow Serving refuses, in its order and its words, and what of our own flags contradicts itself."""
    yield (
        options.port == 0 and not options.grpc_socket_path,
        "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set.",
    )
    yield (
        options.use_alts_credentials and bool(options.ssl_config_file),
        "Either use_alts_credentials must be false or ssl_config_file must be empty.",
    )
    yield (
        not options.model_base_path and not options.model_config_file,
        "Both server_options.model_base_path and server_options.model_config_file are empty!",
    )
    yield (
        bool(options.zmq_curve_allowed_keys_file) and not options.zmq_curve_secret_key_file,
        "server_options.zmq_curve_allowed_keys_file is set without setting server_options.zmq_curve_secret_key_file.",
    )
    yield (
        options.batching == "off" and options.batching_enabled,
        "server_options.batching is off although server_options.enable_batching is true.",
    )
    yield (
        options.batching == "static" and not options.batching_enabled,
        "server_options.batching is static, but batching is not enabled: set server_options.enable_batching to true, "
        "without server_options.platform_config_file.",
    )
    if options.platform_config_file:
        return  # the platform file replaces the batching and session flags, so these are not looked at
    yield (
        bool(options.batching_parameters_file) and not options.enable_batching,
        "server_options.batching_parameters_file is set without setting server_options.enable_batching to true.",
    )
    yield (
        options.tensorflow_session_parallelism > 0
        and options.tensorflow_intra_op_parallelism > 0
        and options.tensorflow_inter_op_parallelism > 0,
        "Either configure server_options.tensorflow_session_parallelism or "
        "(server_options.tensorflow_intra_op_parallelism, server_options.tensorflow_inter_op_parallelism) "
        "separately. You cannot configure all.",
    )


def _ranges(options: ServerOptions) -> Iterator[tuple[bool, str]]:
    for name in ("port", "rest_api_port", "zmq_port"):
        port: int = getattr(options, name)
        yield not 0 <= port <= MAX_PORT, f"server_options.{name} must be from 0 to {MAX_PORT}, not {port}."
    for name in ("session_parallelism", "intra_op_parallelism", "inter_op_parallelism"):
        threads: int = getattr(options, f"tensorflow_{name}")
        yield (
            not -(1 << 31) <= threads < 1 << 31,
            f"server_options.tensorflow_{name} must fit into 32 bits, as TensorFlow's own option, not {threads}.",
        )
    frontends, size = options.rest_frontends, options.max_request_bytes
    yield frontends < 1, f"server_options.rest_frontends must be at least 1, not {frontends}."
    for name in ("grpc_frontends", "zmq_frontends"):
        count: int = getattr(options, name)
        yield count < 0, f"server_options.{name} must not be negative, but is {count}."
    threads = options.grpc_max_threads
    yield threads < 1, f"server_options.grpc_max_threads must be at least 1, not {threads}."
    yield size < 1, f"server_options.max_request_bytes must be at least 1, not {size}."
    linger = options.max_linger_micros
    yield linger < 0, f"server_options.max_linger_micros must not be negative, but is {linger}."
    for name in ("total_model_memory_limit_bytes", "startup_timeout", "reload_timeout"):
        value: int = getattr(options, name)
        yield value < 0, f"server_options.{name} must be at least 0 (0: none), not {value}."
    for name, known in _CHOICES.items():
        choice: str = getattr(options, name)
        yield choice not in known, f"server_options.{name} must be one of {', '.join(filter(None, known))}, not {choice}."
