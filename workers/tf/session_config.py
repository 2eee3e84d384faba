"""ConfigProto bytes from TensorFlow Serving's flags."""

from __future__ import annotations

from pathlib import Path

from ringserve.errors import Code, ServingError
from ringserve.options import ServerOptions
from ringserve.protos import message_module


def config_proto(options: ServerOptions) -> bytes:
    """A serialised ConfigProto, b"" for TensorFlow's defaults.

    As upstream: thread counts and the GPU fraction come from the flags even when a session config file sets them; the
    intra-op and inter-op flags, if either is given, win over the common one. Raises ServingError for a bad file.
    """
    intra = inter = options.tensorflow_session_parallelism
    if options.tensorflow_intra_op_parallelism > 0 or options.tensorflow_inter_op_parallelism > 0:
        intra, inter = options.tensorflow_intra_op_parallelism, options.tensorflow_inter_op_parallelism
    fraction = options.per_process_gpu_memory_fraction
    if not (intra or inter or fraction or options.tensorflow_session_config_file):
        return b""
    config = message_module("tensorflow.core.protobuf.config_pb2").ConfigProto()
    if options.tensorflow_session_config_file:
        _read_text(options.tensorflow_session_config_file, config)
    config.intra_op_parallelism_threads = intra
    config.inter_op_parallelism_threads = inter
    config.gpu_options.per_process_gpu_memory_fraction = fraction
    return bytes(config.SerializeToString())


def _read_text(path: str, message: object) -> None:
    from google.protobuf import text_format  # noqa: PLC0415 - only with this flag

    try:
        text_format.Parse(Path(path).read_bytes(), message)
    except OSError as error:
        raise ServingError(Code.NOT_FOUND, f"{path}; {error.strerror}") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ServingError(
            Code.INVALID_ARGUMENT, f"Invalid protobuf file: '{path}': ConfigProto expected, {error}"
        ) from error
