"""What proves the load generator's figures: loads on servers whose doings are known, and what they must come to."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from bench.harness.coordinator import run
from bench.harness.known_server import Settings, Tally
from bench.harness.known_server_process import BODY, KnownServer, requests_to
from bench.harness.outcome import Outcome
from bench.harness.plan import Closed, Open, Plan
from bench.harness.transport import CONNECTION
from bench.harness.transport import WRONG as WRONG_KIND
from bench.histogram import Histogram
from bench.load import Load, Target
from bench.server import Server, free_port
from bench.wrk import wrk_load

_DELAY, _SLOW, _SLOW_EVERY = 0.005, 0.05, 50
_PERCENTS: Final = (50.0, 90.0, 99.0)  # two of a hundred are slow: none is close to where the delays change
_SHARE, _MORE_MS = 0.05, 1.0  # tolerance of a percentile; the second for the way there and back
_RATE: Final = 200.0
_STALL: Final = 1.0  # s
_LATE: Final = 0.25  # s; longer than what a machine stands still by itself
_WRK_SHARE: Final = 0.10
_WRK_MORE_MS: Final = 0.1
_WRK_ROUNDS: Final = 4
_WRK_SECONDS: Final = 2.0  # of each; wrk takes whole ones
_ANSWER: Final = {"predictions": [2.5]}
_ECHO_ANSWER: Final = {"predictions": [2.5, 3.0, 4.5]}


@dataclass(frozen=True, slots=True)
class Finding:
    """`proven`: None where it could not be tried here."""

    what: str
    proven: bool | None
    words: str


def delays(seconds: float) -> Iterator[Finding]:
    """A mix of two delays: what the generator says beside what the server says, and both saw the same requests."""
    settings = Settings(_DELAY, _SLOW, _SLOW_EVERY)
    outcome, tally = loaded(settings, Plan(Closed(16), seconds, warmup=0))
    yield _same_number("every request is counted once", outcome, tally)
    for percent in _PERCENTS:
        found, known = outcome.percentile(percent), tally.durations.percentile(percent) / 1e6
        drawn = (_SLOW if percent > 100 - 100 / _SLOW_EVERY else _DELAY) * 1e3
        words = f"{found:.2f} ms, the server took {known:.2f} ms, of which it slept {drawn:g} ms"
        yield Finding(f"p{percent:g} of known delays", _near(found, known, _SHARE, _MORE_MS), words)


def faults(seconds: float) -> Iterator[Finding]:
    """Wrong answers, refusals and lost connections are counted as what they are, each of them."""
    settings = Settings(0.001, wrong_every=10, refused_every=25, dropped_every=40)
    outcome, tally = loaded(settings, Plan(Closed(8), seconds, warmup=0))
    errors = outcome.whole.errors
    made = {WRONG_KIND: tally.wrong, "503": tally.refused, CONNECTION: tally.dropped}
    yield Finding("faults are counted by their kind", errors == made, f"counted {errors}, made {made}")
    yield _same_number("every request is counted once, faults too", outcome, tally)


def omission(seconds: float) -> Iterator[Finding]:
    """A server that stalls once: an open loop charges it for all requests that were due meanwhile, a closed one can't."""
    settings = Settings(0.001, stall_at=(seconds - _STALL) / 2, stall=_STALL)
    outcome, _ = loaded(settings, Plan(Open(_RATE, "constant", slots=16), seconds, warmup=0))
    due, made = outcome.whole.latencies.total + outcome.failed, math.ceil(round(_RATE * seconds, 6))
    yield Finding("every due request is sent", due == made, f"{due} of {made}")
    late, expected = above(outcome.whole.latencies, _LATE), _RATE * (_STALL - _LATE)
    words = f"{late} took more than {_LATE:g} s, {expected:g} are expected"
    yield Finding(f"a stall of {_STALL:g} s at {_RATE:g}/s", abs(late - expected) <= 0.05 * expected + 2, words)
    really = above(outcome.sent, _LATE)
    yield Finding("time since the real send is kept apart", really <= 16, f"{really} took so long since they were sent")
    closed, _ = loaded(settings, Plan(Closed(4), seconds, warmup=0))
    late = above(closed.whole.latencies, _LATE)
    yield Finding("a closed loop has one late request a client", late == 4, f"{late} of {closed.whole.requests}")


def beside_wrk(_: float) -> Iterator[Finding]:
    """The same server under wrk and under this generator in turn; the best of some rounds.

    What else the machine does only ever makes a figure worse.
    """
    if shutil.which("wrk") is None:
        yield Finding("beside wrk", None, "wrk is not installed")
        return
    with KnownServer(Settings(0.002)) as server:
        yield from _compared("2 ms, 8 clients", server.port, _ANSWER, 8)
    port = free_port()
    command = [sys.executable, "-m", "bench.echo_server", "--port", str(port)]
    with Server(command, Target(port, "/", BODY.decode(), _ECHO_ANSWER)) as echo:
        echo.until_answered()
        yield from _compared("as quick as it can, 16 clients", port, _ECHO_ANSWER, 16)


CHECKS: Final[tuple[Callable[[float], Iterator[Finding]], ...]] = (delays, faults, omission, beside_wrk)


def loaded(settings: Settings, plan: Plan) -> tuple[Outcome, Tally]:
    """One run on a server of its own, and what that server did."""
    with KnownServer(settings) as server:
        return run(server.requests(), plan), server.end()


def _same_number(what: str, outcome: Outcome, tally: Tally) -> Finding:
    counted = outcome.whole.latencies.total + outcome.failed
    served = tally.requests - 1  # without the one that was asked before
    return Finding(what, counted == served, f"{counted} counted, {served} served")


def _compared(what: str, port: int, answer: object, clients: int) -> Iterator[Finding]:
    requests, target = requests_to(port), Target(port, "/", BODY.decode(), answer)
    theirs: list[Load] = []
    ours: list[Outcome] = []
    for _ in range(_WRK_ROUNDS):
        theirs.append(wrk_load(target, clients, _WRK_SECONDS))
        ours.append(run(requests, Plan(Closed(clients), _WRK_SECONDS, warmup=0.2)))
    rate, known = max(each.rate for each in ours), max(each.rate for each in theirs)
    yield Finding(f"rate beside wrk: {what}", _near(rate, known, _WRK_SHARE, 0), f"{rate:,.0f}/s, wrk {known:,.0f}/s")
    p50, known = min(each.percentile(50) for each in ours), min(each.p50 for each in theirs)
    yield Finding(
        f"p50 beside wrk: {what}", _near(p50, known, _WRK_SHARE, _WRK_MORE_MS), f"{p50:.3f} ms, wrk {known:.3f} ms"
    )


def _near(found: float, known: float, share: float, more: float) -> bool:
    return abs(found - known) <= share * known + more


def above(histogram: Histogram, seconds: float) -> int:
    """How many values are longer."""
    bound = Histogram()
    bound.record([int(seconds * 1e9)])
    return int(histogram.counts[int(bound.counts.argmax()) + 1 :].sum())
