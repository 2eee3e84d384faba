"""The json-image topology counts into its own rows, whatever was measured before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import json_bodies
from bench.topology import Row, Settings


def test_beside_rows_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_bodies, "_TRIES", 1)
    other = Row("other", "p50", "ms", "lower")
    rows = [other]
    settings = Settings(Path(), repeat=1, seconds=0.1, generator="own", perf_analyzer="own", say=lambda _: None)
    json_bodies._measure(settings, rows)
    assert not other.figures
    assert [(len(row.figures), len(row.floors), row.errors) for row in rows[1:]] == [(1, 1, 0)] * 8
