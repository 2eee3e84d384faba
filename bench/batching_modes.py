"""The batching topologies: the same load on a server that batches, and on servers that don't, or that batch otherwise.

Every client asks for one row and waits for its answer, over ZeroMQ, which costs the server least beside the run; all clients
are in one process, and all servers are there at once and are asked in turn.

*batching-small*, *-medium* and *-large* are half_plus_two, a small convolutional network for digits and ResNet50. Each is
served in four modes: *off*, every request runs by itself; *adaptive*, as without any flag; *zero wait*, the same but for
`--max_linger_micros=0`: a batch is never held back for requests that are about to come; and *static*, `--enable_batching`
with the parameters' defaults, for the digits with parameters as one would write them for TensorFlow Serving, which wait 2 ms
for a batch to fill. What batching gains is adaptive beside off. That it costs nothing where nothing is to be gained is the
median of one client, within 5 % of off; that it waits only where that pays, the median at any number of clients, within
10 % of zero wait.

*linger* is where waiting ought to pay: a model whose batches take some 5 ms however many rows they have, and clients that
are answered together and so ask together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.asked_rows import AskedRows
from bench.batch_models import DIGITS_CNN, RESNET, fixed_cost, halves, image_network
from bench.batching_servers import PARAMETERS
from bench.mode_comparison import Comparison, ModeComparison, Model
from bench.topology import Settings, Topology

_OFF: Final = "batching off"
_ADAPTIVE: Final = "adaptive"
_ZERO_WAIT: Final = "zero wait"
_STATIC: Final = "static"
_WAITING: Final[Mapping[str, Sequence[str]]] = {_ADAPTIVE: (), _ZERO_WAIT: ("--max_linger_micros=0",)}
_MODES: Final[Mapping[str, Sequence[str]]] = {_OFF: ("--batching=off",), **_WAITING, _STATIC: ("--enable_batching",)}
_BY_FILE: Final = {**_MODES, _STATIC: ("--enable_batching", PARAMETERS)}
_PARAMETERS: Final = """
max_batch_size { value: 64 }
batch_timeout_micros { value: 2000 }
max_enqueued_batches { value: 100 }
"""

_CLIENTS: Final = (1, 8, 64)
_FEW_CLIENTS: Final = (1, 8)  # each of whose requests takes a tenth of a second
_LINGER_CLIENTS: Final = (8, 32)
_OFF_LIMIT: Final = 1.05
_ZERO_WAIT_LIMIT: Final = 1.1


def _comparisons(clients: Sequence[int]) -> tuple[Comparison, ...]:
    return (
        Comparison(_ADAPTIVE, _OFF, p50_limits={1: _OFF_LIMIT}),
        Comparison(_ADAPTIVE, _ZERO_WAIT, ("p50",), dict.fromkeys(clients, _ZERO_WAIT_LIMIT)),
        Comparison(_STATIC, _OFF),
    )


def _half_plus_two(settings: Settings) -> tuple[Path, AskedRows]:
    return settings.model, halves()


def _images(network: str) -> Model:
    return lambda _: image_network(network)


def _topology(comparison: ModeComparison, what: str) -> Topology:
    at_a_time = " and ".join(str(count) for count in comparison.clients)
    return Topology(comparison.name, f"{what}, {at_a_time} clients: {', '.join(comparison.modes)}", comparison.measure)


_SMALL: Final = ModeComparison("batching-small", _half_plus_two, _MODES, _comparisons(_CLIENTS), _CLIENTS, 1 / 6)
_MEDIUM: Final = ModeComparison(
    "batching-medium", _images(DIGITS_CNN), _BY_FILE, _comparisons(_CLIENTS), _CLIENTS, 1 / 6, _PARAMETERS
)
_LARGE: Final = ModeComparison("batching-large", _images(RESNET), _MODES, _comparisons(_FEW_CLIENTS), _FEW_CLIENTS, 1 / 4)
_LINGER: Final = ModeComparison(
    "linger",
    lambda _: fixed_cost(),
    _WAITING,
    (Comparison(_ADAPTIVE, _ZERO_WAIT, p50_limits=dict.fromkeys(_LINGER_CLIENTS, _ZERO_WAIT_LIMIT)),),
    _LINGER_CLIENTS,
    1 / 3,
)

TOPOLOGIES: Final = (
    _topology(_SMALL, "half_plus_two"),
    _topology(_MEDIUM, "a small network for images of digits"),
    _topology(_LARGE, "ResNet50"),
    _topology(_LINGER, "a model of 5 ms a batch, whatever its rows"),
)
