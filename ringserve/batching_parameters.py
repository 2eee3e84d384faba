"""TensorFlow Serving's batching parameters: the server's, from --batching_parameters_file, and those of one version."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from ringserve import text_proto
from ringserve.batching_messages import WRAPPED_FIELDS, parameters_message
from ringserve.errors import Code, ServingError
from ringserve.options import ServerOptions, schedulable_cpus

#: Of a version's own parameters, in its folder.
FILE_NAME: Final = "batching_params.pbtxt"

_POOL_OF_FILES: Final = "batch_threads"  # where a file names none


@dataclass(frozen=True, slots=True)
class BatchingParameters:
    """The fields of upstream's message, with its defaults. Sizes are in rows, of a request or of a batch."""

    max_batch_size: int = 1000  # of the largest request; and of a batch, where requests are not split
    batch_timeout_micros: int = 0  # age at which a batch that is not full may run
    max_enqueued_batches: int = 10  # of a queue, with the one that is still open, without those that run
    num_batch_threads: int = field(default_factory=schedulable_cpus)
    thread_pool_name: str = "model_server_batch_threads"
    allowed_batch_sizes: tuple[int, ...] = ()  # batches are filled up to one of them; empty: run as they are
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int = 0  # of the largest batch that is run; 0: max_batch_size, as where nothing is split

    def __post_init__(self) -> None:
        if not (self.enable_large_batch_splitting and self.max_execution_batch_size):
            object.__setattr__(self, "max_execution_batch_size", self.max_batch_size)
        if not (self.enable_large_batch_splitting or self.max_enqueued_batches):
            object.__setattr__(self, "max_enqueued_batches", 1)  # as upstream

    def to_wire(self) -> list[Any]:
        """As control messages carry it."""
        return [getattr(self, field.name) for field in dataclasses.fields(self)]

    @classmethod
    def from_wire(cls, wire: list[Any]) -> BatchingParameters:
        made = cls(*wire)
        return dataclasses.replace(made, allowed_batch_sizes=tuple(made.allowed_batch_sizes))


def server_parameters(options: ServerOptions) -> BatchingParameters | None:
    """The server's, from the file that it was given, if any; None where batching is not enabled.

    Raises ServingError for a file that can't be read or parsed, and for fewer threads than one. What else is wrong with
    them fails the versions that they are for: see `check_queue`.
    """
    if not options.batching_enabled:
        return None
    path = options.batching_parameters_file
    parameters = _read(path) if path else BatchingParameters()
    if parameters.num_batch_threads < 1:
        raise _wrong(f"num_batch_threads must be positive; was {parameters.num_batch_threads}")
    return parameters


def version_parameters(options: ServerOptions, server: BatchingParameters, path: str) -> BatchingParameters | None:
    """Those of the version in the folder `path`, where `server` are the server's; None: its requests are not batched.

    Raises ServingError for a file in the folder that can't be read or parsed.
    """
    if not options.enable_per_model_batching_parameters:
        return server
    file = os.path.join(path, FILE_NAME)
    if not os.path.exists(file):
        return None
    own = _read(file)
    # The threads are shared by all versions.
    return dataclasses.replace(own, num_batch_threads=server.num_batch_threads, thread_pool_name=server.thread_pool_name)


def check_queue(parameters: BatchingParameters) -> None:
    """Can requests be queued by them? Raises ServingError (INVALID_ARGUMENT) with upstream's texts."""
    _check_allowed(parameters)
    most, timeout, batches = parameters.max_batch_size, parameters.batch_timeout_micros, parameters.max_enqueued_batches
    if most < 1:
        raise _wrong(f"input_batch_size_limit must be positive; was {most}")
    if timeout < 0:
        raise _wrong(f"batch_timeout_micros must be non-negative; was {timeout}")
    if batches < 1:
        raise _wrong(f"max_enqueued_batches must be positive; was {batches}")
    largest = parameters.max_execution_batch_size
    if largest < 1:
        raise _wrong(f"max_execution_batch_size must be positive; was {largest}")
    if largest > most:
        text = "When enable_large_batch_splitting is true, input_batch_size_limit must be greater than or equal to "
        raise _wrong(f"{text}max_execution_batch_size.1{most}{largest}")  # the three values, as upstream runs them together


def _check_allowed(parameters: BatchingParameters) -> None:
    sizes, most = parameters.allowed_batch_sizes, parameters.max_batch_size
    if not sizes:
        return
    if sizes[-1] != most:
        text = f"Last entry in allowed_batch_sizes must match max_batch_size; last entry was {sizes[-1]}; expected {most}"
        raise _wrong(text)
    if any(size >= following for size, following in pairwise(sizes)):
        raise _wrong("allowed_batch_sizes entries must be monotonically increasing")
    if sizes[0] < 1:
        raise _wrong(f"allowed_batch_sizes entries must be positive; was {sizes[0]}")


def _read(path: str) -> BatchingParameters:
    message = text_proto.parse(path, text_proto.read(path), parameters_message())
    given = {name: getattr(message, name).value for name in WRAPPED_FIELDS if message.HasField(name)}
    return BatchingParameters(
        **{"thread_pool_name": _POOL_OF_FILES, **given},
        allowed_batch_sizes=tuple(message.allowed_batch_sizes),
        pad_variable_length_inputs=message.pad_variable_length_inputs,
    )


def _wrong(text: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, text)
