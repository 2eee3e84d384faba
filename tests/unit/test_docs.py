"""What the documentation says of commands, flags, files and processes is true."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from bench.harness.load_arguments import load_parser
from docs.flag_reference import PAGE, page
from ringserve.flags import FLAGS

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
# Not flags of the server: of pytest, make and our own client commands.
OTHER_FLAGS = {
    "json",
    "socket",
    "platform",
    "remove",
    "timeout",
    "base",
    "data",
    "flag",
    "help",
    "input",
    "only",
    "repeat",
    "seconds",
    "beside_floor",
    "budget",
    "clients",
    "json_lines",
    "limit",
    "p99_below",
    "payload",
    "protocol",
    "rows",
    "save",
}
# And those of `ringserve bench load`.
LOAD_FLAGS = {option.lstrip("-") for action in load_parser()._actions for option in action.option_strings}


def test_flag_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run make docs"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_flags_exist(path: Path) -> None:
    for name in re.findall(r"--([a-z][a-z0-9_]+)", path.read_text()):
        assert name in FLAGS or name in OTHER_FLAGS | LOAD_FLAGS, f"{path.name} speaks of --{name}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_source_files_exist(path: Path) -> None:
    for name in re.findall(r"`((?:shm|workers|manager|frontend|ringserve|bench|examples)/[\w/]+\.py)`", path.read_text()):
        assert (ROOT / name).exists(), f"{path.name} speaks of {name}"


def test_installed_commands() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert set(scripts) == {"ringserve", "tensorflow_model_server"}
    readme = (ROOT / "README.md").read_text()
    for command in scripts:
        assert command in readme


@pytest.mark.parametrize("target", ["serve", "test", "lint", "format", "type", "bench", "docs", "clean"])
def test_make_targets(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_rest_port_is_the_one_that_is_documented() -> None:
    from ringserve.cli import SERVE_DEFAULTS  # noqa: PLC0415 - beside what it is compared with

    assert SERVE_DEFAULTS["rest_api_port"] == 8501
    assert "port 8501" in (ROOT / "README.md").read_text()
