"""What one generator process does of a plan."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

from bench.harness.plan import Plan


@dataclass(frozen=True, slots=True)
class Share:
    """The plan of all processes together, and which of them this is."""

    plan: Plan
    index: int = 0
    slots: int = 1  # that this process has of the plan's

    def to_wire(self) -> dict[str, Any]:
        return {"plan": self.plan.to_wire(), "index": self.index, "slots": self.slots}

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> Self:
        return cls(Plan.from_wire(wire["plan"]), wire["index"], wire["slots"])


def shares(plan: Plan) -> list[Share]:
    """One for each generator; no more generators than slots, since one without a slot could send nothing."""
    slots = plan.shape.slots
    count = max(1, min(plan.processes, slots))
    plan = replace(plan, processes=count)
    return [Share(plan, index, slots // count + (index < slots % count)) for index in range(count)]
