"""The gRPC topologies: a whole server beside two bare ones of grpcio's that answer the same requests with the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Final

from bench.grpc_echoes import NAMES, Kind, grpc_echo
from bench.grpc_generator import grpc_load
from bench.grpc_target import GrpcTarget, grpc_metadata, grpc_predict
from bench.half_plus_two import NAME
from bench.load import Load
from bench.perf_analyzer_environment import found_perf_analyzer
from bench.served_models import serve_model
from bench.server import Server, free_port
from bench.topology import Goal, Row, Settings, SkippedError, Topology

_WARM_SECONDS: Final = 1.0
_CHECKS: Final = 10  # requests whose answers are looked at before and after perf_analyzer, which does not look
_SHAPE: Final = "x:3"
_GOAL: Final = Goal("ratio", 0.8)  # of throughput, beside the better one of the echoes
#: Connections per front end where there are several: the kernel chooses one for each, and not always in turn.
_PER_FRONT_END: Final = 2

Asked = tuple[Server, GrpcTarget]
Measured = Callable[[GrpcTarget, int, float, int], Load]  # calls, seconds, connections
EchoRows = Mapping[Kind, Mapping[str, Row]]  # by measure


def _grpc(calls: int, frontends: int = 1) -> Topology:
    """The echoes are always one process."""
    name = f"grpc-c{calls}" + (f"-f{frontends}" if frontends > 1 else "")

    def measure(settings: Settings, rows: list[Row]) -> None:
        generator, load = grpc_generator(settings)
        mine = echo_rows(name, generator)
        rows += [row for beside in mine.values() for row in beside.values()]
        ours = grpc_predict(free_port())
        command = serve_model(settings.model, free_port(), grpc_port=ours.port, grpc_frontends=frontends)
        with ExitStack() as stack:
            server = stack.enter_context(Server(command, ours))
            server.until_answered()
            answers = {target.method: target.ask(1) for target in (ours, grpc_metadata(ours.port))}
            echoes = {kind: stack.enter_context(grpc_echo(kind, ours, answers)) for kind in NAMES}
            _in_turns(settings, mine, (server, ours), echoes, _loaded(load, calls, frontends))

    what = f"Predict of three floats over gRPC, {calls} at a time, {frontends} front end(s), beside grpcio's own servers"
    return Topology(name, what, measure)


def grpc_generator(settings: Settings) -> tuple[str, Measured]:
    """Its name, and what runs it. Raises SkippedError when a program is named that does not run."""
    if settings.perf_analyzer != "own":
        try:
            program = found_perf_analyzer(settings.perf_analyzer)
        except SkippedError as error:
            if settings.perf_analyzer:
                raise
            settings.say(f"{error}: the load comes from Python, and is limited by that")
        else:
            return "perf_analyzer", lambda target, calls, seconds, connections: program.load(
                target.port, NAME, _SHAPE, calls, seconds, connections
            )
    return "a client in Python", grpc_load


def echo_rows(name: str, generator: str) -> EchoRows:
    """The rows of what a generator measures, for each echo."""
    measures = (("throughput", "req/s"), ("p50", "ms"), ("p99", "ms"))
    return {
        kind: {
            measure: Row(name, measure, unit, "higher" if measure == "throughput" else "lower", floor, generator=generator)
            for measure, unit in measures
        }
        for kind, floor in NAMES.items()
    }


def _loaded(load: Measured, calls: int, frontends: int) -> Callable[[Asked, float], Load]:
    """A run of so many seconds, answers looked at before and after. Raises RuntimeError when nothing was answered."""
    connections = _PER_FRONT_END * frontends if frontends > 1 else 1

    def loaded(asked: Asked, seconds: float) -> Load:
        server, target = asked
        server.check(_CHECKS)
        found = load(target, calls, seconds, connections)
        server.check(_CHECKS)
        if not found.requests:
            raise RuntimeError(f"no request was answered rightly, {found.errors} were not")
        return found

    return loaded


def _in_turns(
    settings: Settings,
    rows: EchoRows,
    ours: Asked,
    echoes: Mapping[Kind, Asked],
    loaded: Callable[[Asked, float], Load],
) -> None:
    for asked in (ours, *echoes.values()):
        loaded(asked, _WARM_SECONDS)
    for repetition in range(settings.repeat):
        # Who comes first changes: none always finds the machine as another left it.
        order = rotated([None, *echoes], repetition)
        loads = {kind: loaded(ours if kind is None else echoes[kind], settings.seconds) for kind in order}
        mine = loads.pop(None)
        add_repetition(rows, mine, {kind: load for kind, load in loads.items() if kind is not None})
        words = ", ".join(f"{NAMES[kind]} {load.rate:,.0f}, {load.p50:.3f}" for kind, load in loads.items() if kind)
        settings.say(f"{mine.rate:,.0f} req/s, p50 {mine.p50:.3f} ms, {mine.errors} errors; {words}")


def rotated(order: Sequence[Kind | None], by: int) -> list[Kind | None]:
    by %= len(order)
    return [*order[by:], *order[:by]]


def add_repetition(rows: EchoRows, load: Load, echoes: Mapping[Kind, Load]) -> None:
    """A repetition's figures; what is asked of us is asked beside the echo that is the better one so far.

    Raises RuntimeError when an echo failed.
    """
    for kind, echo in echoes.items():
        if echo.errors:
            raise RuntimeError(f"{echo.errors} requests to the {NAMES[kind]} failed: there is nothing to compare with")
        for measure, row in rows[kind].items():
            figure, floor = ((each.rate if measure == "throughput" else getattr(each, measure)) for each in (load, echo))
            row.add(figure, floor, load.errors)
    throughputs = [beside["throughput"] for beside in rows.values()]
    better = max(throughputs, key=lambda row: row.best(row.floors))
    for row in throughputs:
        row.goals = (_GOAL,) if row is better else ()


TOPOLOGIES: Final = (_grpc(1), _grpc(32), _grpc(32, frontends=2))
