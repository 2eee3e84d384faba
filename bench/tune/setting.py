"""The flags of a server that are tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

Batching = Literal["adaptive", "static", "off"]

#: The flag for front ends of each protocol.
FRONTENDS: Final[Mapping[str, str]] = {"http": "rest_frontends", "grpc": "grpc_frontends", "zmq": "zmq_frontends"}
#: Batches that may wait in a queue: what is measured is how quick a server is, not what it refuses.
_ENQUEUED: Final = 1000
_LINGER: Final = 2000  # the flag's default, in microseconds


@dataclass(frozen=True, slots=True)
class Setting:
    """0 is the server's default, except for what is counted in microseconds; the defaults here are the server's."""

    batching: Batching = "adaptive"
    linger: int = _LINGER  # adaptive: longest wait, in microseconds
    max_batch_size: int = 0  # rows
    batch_timeout: int = 0  # static: age at which a batch that is not full may run, in microseconds
    batch_threads: int = 0  # batches that run at a time
    workers: int = 0
    frontends: int = 1
    intra_op: int = 0  # threads inside an operation
    inter_op: int = 0  # operations at a time

    def normal(self) -> Setting:
        """The same with what does not matter for its kind of batching at its default: two that are equal do the same."""
        kept = self if self.batching == "adaptive" else replace(self, linger=_LINGER)
        if kept.batching == "off":
            kept = replace(kept, max_batch_size=0, batch_threads=0)
        return kept if kept.batching == "static" else replace(kept, batch_timeout=0)

    @property
    def parameters(self) -> str:
        """The text of its file of batching parameters; "" where it needs none."""
        if self.batching == "off" or (self.batching == "adaptive" and not (self.max_batch_size or self.batch_threads)):
            return ""
        values = {
            "max_batch_size": self.max_batch_size or None,
            "batch_timeout_micros": self.batch_timeout if self.batching == "static" else None,
            "max_enqueued_batches": _ENQUEUED,
            "num_batch_threads": self.batch_threads or None,
        }
        return "".join(f"{name} {{ value: {value} }}\n" for name, value in values.items() if value is not None)

    def flags(self, scheme: str, parameters_file: str) -> list[str]:
        """Those that differ from the server's defaults. `parameters_file`: where `parameters` is, if there are any."""
        found = ["--enable_batching", f"--batching_parameters_file={parameters_file}"] if self.parameters else []
        if self.batching == "off" or (self.parameters and self.batching == "adaptive"):
            found.append(f"--batching={self.batching}")
        values = {
            "max_linger_micros": self.linger if self.linger != _LINGER else None,
            "devices": f"cpu:{self.workers}" if self.workers else None,
            FRONTENDS[scheme]: self.frontends if self.frontends > 1 else None,
            "tensorflow_intra_op_parallelism": self.intra_op or None,
            "tensorflow_inter_op_parallelism": self.inter_op or None,
        }
        return found + [f"--{name}={value}" for name, value in values.items() if value is not None]
