"""docs/admin.md names the verbs and commands that there are, and no others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fake_administered import FakeAdministered

from manager.admin_verbs import AdminVerbs
from ringserve.models_commands import run

PAGE = (Path(__file__).parents[3] / "docs" / "admin.md").read_text()


def rows(title: str) -> list[list[str]]:
    """The cells of the table whose first column has this title."""
    table = re.search(rf"^\| {title} \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert table, f"no table of {title}"
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1].splitlines()]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_verbs() -> None:
    assert [names(row[0])[0] for row in rows("verb")] == list(AdminVerbs(FakeAdministered()).verbs)


def test_commands(capsys: pytest.CaptureFixture[str]) -> None:
    run(["--help"])
    listed = re.findall(r"^    ([a-z-]+)(?= |$)", capsys.readouterr().out, re.MULTILINE)
    named = [names(row[0])[0].split()[0] for row in rows("command")]
    assert list(dict.fromkeys(named)) == listed


def test_options_of_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    for row in rows("command"):
        words = names(row[0])[0]
        run([words.split()[0], "--help"])
        text = capsys.readouterr().out
        for option in re.findall(r"--[a-z-]+", words):
            assert f" {option} " in text or f" {option}\n" in text
