"""What a run is called, and what a reader has to be warned of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from bench.harness.outcome import Outcome
from bench.harness.plan import Plan
from bench.report import number

#: Share of a processor from which on a generator may measure itself.
BUSY: Final = 0.8
_LATE_MS: Final = 1.0  # nobody is punctual to less
_LATE_SHARE: Final = 0.2  # of the median latency


def shape_of(outcome: Outcome) -> str:
    return str(Plan.from_wire(outcome.plan).shape)


def target_of(outcome: Outcome) -> str:
    """The model and how it is asked: `half_plus_two over http`."""
    model = outcome.about.get("model")
    protocol = urlsplit(str(outcome.about.get("url", ""))).scheme
    words = [str(model) if model else "", f"over {protocol}" if protocol else ""]
    return " ".join(word for word in words if word) or "a server"


def names_of(outcomes: Sequence[Outcome]) -> list[str]:
    """A name for each: what differs between them, and the shape of its load."""
    named = zip(differences(outcomes), outcomes, strict=True)
    return [", ".join(word for word in (differs, shape_of(each)) if word) for differs, each in named]


def differences(outcomes: Sequence[Outcome]) -> list[str]:
    """The facts about each that are not the same for all; "" where nothing differs."""
    facts = list(dict.fromkeys(name for each in outcomes for name in each.about))
    several = [name for name in facts if len({str(each.about.get(name)) for each in outcomes}) > 1]
    return [", ".join(_fact(each.about, name) for name in several if name in each.about) for each in outcomes]


def warnings_of(outcome: Outcome) -> Iterator[str]:
    """Why the figures may not be what they seem; each is a sentence."""
    busiest = max((each.cpu for each in outcome.generators), default=0.0)
    if busiest > BUSY:
        yield (
            f"A generator was busy for {busiest:.0%} of the time: the figures may be its own limits and not the server's. "
            "Use more generator processes, or another machine for them."
        )
    late = max((each.late * 1e3 for each in outcome.generators), default=0.0)
    if late > _LATE_MS and not late < _LATE_SHARE * outcome.percentile(50):
        yield f"One request in a hundred went out {number(late)} ms or more after it was due, though a slot was free."
    if unsent := sum(each.unsent for each in outcome.generators):
        yield f"{unsent:,} requests were due and never sent, since all slots were taken: the server did not keep up."
    if not outcome.stable:
        yield "The rate drifted while it was measured: the server had not settled, or something else took the machine."
    if not outcome.complete:
        yield "The run was interrupted: the figures are of the part before."
    if outcome.failed:
        asked = outcome.failed + outcome.whole.latencies.total
        yield f"{outcome.failed:,} of {asked:,} requests failed; latencies are of the others."


def _fact(about: dict[str, Any], name: str) -> str:
    value = about[name]
    return value if isinstance(value, str) else f"{name} {value}"
