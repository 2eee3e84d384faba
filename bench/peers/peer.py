"""What the comparison needs to know of a peer: a module of each says it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.peers.peer_model import PeerModel
from bench.peers.wire import Form

#: The root of this project, which programs in environments of others import `bench.peers.programs` from.
ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Setting:
    """How a peer is set up, and the page of its own documentation that has it so."""

    what: str
    page: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server is to be started. `port`: of HTTP; `folder`: its own, with a short path, for its files and sockets."""

    model: PeerModel
    python: Path  # of its environment
    port: int
    folder: Path

    @property
    def base(self) -> Path:
        """The model's base path: version 1 is there, and further ones may come."""
        return self.folder / self.model.name

    @property
    def current(self) -> Path:
        """A link to the version folder that is to be served, for peers that know no versions."""
        return self.folder / "current"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def beside(self, program: str) -> str:
        """A program that its environment has."""
        return str(self.python.with_name(program))


@dataclass(frozen=True, slots=True)
class Command:
    """How a server is started."""

    arguments: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def words(self) -> list[str]:
        """With the environment: the project to import programs from, no GPU, few words of TensorFlow."""
        common = {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
        return ["env", *(f"{name}={value}" for name, value in {**common, **self.environment}.items()), *self.arguments]


def program(place: Place, file: str, /, **options: Any) -> list[str]:
    """One of bench.peers.programs, with the options that all of them take."""
    words = [str(place.python), "-m", f"bench.peers.programs.{file}", f"--model={place.current}", f"--port={place.port}"]
    return words + [f"--{option}={value}" for option, value in options.items()]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the tables: a way to ask a server. `url`: of the place, where it is not that of HTTP."""

    name: str
    form: Callable[[PeerModel], Form]
    models: tuple[str, ...] = ()  # those that it is measured with; none: all
    url: Callable[[Place], str] = lambda place: place.url
    beside: bool = False  # shown apart: another protocol than the one that all are compared over


#: Has a server that runs at a place load what `Place.current` links to, and `Place.base` has as the given version; returns
#: when that is served. Is given the process id of the server.
Switch = Callable[[Place, int, int], None]


@dataclass(frozen=True, slots=True)
class Peer:
    """`packages`: of its environment, none: this project's own; `package`: whose version is told."""

    name: str
    package: str
    packages: tuple[str, ...]
    settings: tuple[Setting, ...]
    command: Callable[[Place], Command]
    rows: tuple[Row, ...]
    switch: Switch | None = None  # None: it is stopped and started
    switch_words: str = "restart"  # how a version is switched
    interpreter: str = sys.executable  # its environment is made from
