"""The values that each flag may have, and where a search begins."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from bench.tune.setting import FRONTENDS, Setting

#: Values to try, by the field of Setting.
Axes = Mapping[str, list[int | str]]

_SIZES: Final = (8, 16, 32, 64, 128, 256, 512)
_FLAGS: Final = {
    "batching": ("batching", "enable_batching", "batching_parameters_file", "enable_per_model_batching_parameters"),
    "linger": ("max_linger_micros",),
    "workers": ("devices",),
    "intra_op": ("tensorflow_intra_op_parallelism", "tensorflow_session_parallelism", "tensorflow_session_config_file"),
    "inter_op": ("tensorflow_inter_op_parallelism", "tensorflow_session_parallelism", "tensorflow_session_config_file"),
}
_BY_BATCHING: Final = ("max_batch_size", "batch_timeout", "batch_threads")


@dataclass(frozen=True, slots=True)
class Room:
    """What there is to tune in: processors, GPUs (their workers are as many as they are), and the rows of a request and of
    all that are on their way at a time, between which a batch can be.
    """

    cpus: int
    gpus: int = 0
    rows: int = 1
    most_rows: int = 64

    @property
    def sizes(self) -> list[int]:
        return [size for size in _SIZES if self.rows <= size <= self.most_rows]


def axes(room: Room, scheme: str, given: Collection[str]) -> Axes:
    """What is tried, the most telling first. `given`: names of the flags that the user has settled."""
    counts: list[int | str] = [count for count in (1, 2, 4, 8, 16) if count <= room.cpus]
    found: dict[str, list[int | str]] = {
        "frontends": [*counts],
        "workers": [0, *counts[1:]] if not room.gpus else [0],
        "batching": ["adaptive", "static", "off"],
        "intra_op": [0, *counts],
        "max_batch_size": [0, *room.sizes],
        "linger": [Setting().linger, 0, 500, 10_000],
        "batch_timeout": [0, 500, 2000, 10_000],
        "batch_threads": [0, *sorted({1, 2, 4, 2 * room.cpus} - {room.cpus})],  # as many as processors is the default
        "inter_op": [0, 1, 2],
    }
    settled = {axis for axis, flags in _FLAGS.items() if not set(flags).isdisjoint(given)}
    if FRONTENDS[scheme] in given:
        settled.add("frontends")
    if "batching" in settled:
        settled.update(_BY_BATCHING)
    return {axis: values for axis, values in found.items() if axis not in settled and len(values) > 1}


def seeds(known: Axes, room: Room) -> list[Setting]:
    """The server's defaults; and batches by parameters, as they are often advised: a size, and a short wait for it."""
    if "batching" not in known:
        return [Setting()]
    size = max((size for size in room.sizes if size <= 32), default=0)
    return [Setting(), Setting(batching="static", max_batch_size=size, batch_timeout=1000)]
