"""The page of the comparison with other servers."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from bench.peers.findings import Finding, Findings
from bench.peers.interruption import Interruption
from bench.peers.level import Level
from bench.peers.page import page, write_page
from bench.peers.page_plots import throughput_plot
from bench.peers.page_tables import table


@pytest.fixture
def findings() -> Findings:
    about = {
        "date": "2026-01-02T03:04:05+00:00",
        "machine": {"cpu": "Z80", "cpus_usable": 2, "memory_gb": 24.0, "kernel": "6.1", "load_before": [0.1, 0.2, 0.3]},
        "versions": {"python": "3.11", "tensorflow": "2.21"},
        "source": {"commit": "0123456789abcdef", "dirty": False},
        "settings": {"seconds": 2.0, "repeat": 1},
    }
    slow, quick = (Level(1, rate, 1.0, 2.0, 0, 100) for rate in (100.0, 200.0))
    late = Level(8, 900.0, 80.0, 90.0, 0, 900)
    none = Level(1, 0.0, math.nan, math.nan, 5, 0)
    found = [
        Finding("A", "A", "half", "JSON", False, 1.0, 300.0, 3, [slow, late]),
        Finding("B", "B", "half", "JSON", False, 2.0, 400.0, 2, [quick]),
        Finding("B", "B, gRPC", "half", "gRPC", True, 2.0, 400.0, 2, [quick]),
        Finding("C", "C", "half", "JSON", False, 2.0, 400.0, 2, [none]),
    ]
    settings = [{"what": "two workers", "page": "Workers", "url": "https://example.org/workers"}]
    return Findings(
        about,
        {"half": {"what": "y = 0.5 x", "limit": 50.0}},
        {name: {"version": "1.0", "settings": settings, "switch": "restart"} for name in "ABC"},
        found,
        {"A": {"switch": Interruption(90, 3, {"503": 3}, 1.0, math.nan, None, None), "kill": None}},
        skipped={"D": "no\nwheel"},
    )


def test_page_has_the_quickest_first_and_everybody(findings: Findings) -> None:
    lines = page(findings).splitlines()
    rows = [line for line in lines if line.startswith(("| A | JSON", "| B | JSON", "| C, 5 failed | JSON"))]
    assert [row.split("|")[1].strip() for row in rows] == ["B", "A", "C, 5 failed"]
    assert "| A | JSON | 100 | 1 |" in rows[1]  # not the 900 that came too late
    assert "never within the limit" in rows[2]
    assert "- D: no wheel" in lines
    assert any("[Workers](https://example.org/workers)" in line for line in lines)
    assert any("not over within the run" in line for line in lines)


def test_page_says_that_it_is_not_complete(findings: Findings) -> None:
    assert "cut short" in page(findings)
    findings.complete = True
    assert "cut short" not in page(findings)


def test_page_is_written_with_its_plots_and_figures(findings: Findings, tmp_path: Path) -> None:
    write_page(findings, tmp_path / "benchmarks.md")
    assert {each.name for each in tmp_path.iterdir()} == {"benchmarks.md", "benchmarks.json", "benchmarks-half.svg"}
    assert (tmp_path / "benchmarks.md").read_text() == page(Findings.read(tmp_path / "benchmarks.json"))


def test_plot_is_a_picture_with_a_line_for_each(findings: Findings) -> None:
    picture = throughput_plot(findings.found, "a <title>")
    names = {element.text for element in ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")}
    assert {"A", "B", "B, gRPC"} <= names


def test_a_cell_stays_a_cell() -> None:
    assert table(["a"], [["x | y\nz"]]).splitlines()[-1] == "| x \\| y z |"
