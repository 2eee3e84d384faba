"""Models that are no SavedModels: lookup tables, and the plug-ins of docs/plugins.md, taken from there."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from end_to_end.model_config_file import ModelConfigFile, entry
from end_to_end.running_server import RunningServer, run_to_its_end
from end_to_end.waiting import wait_until

LIMIT = 15
PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"
LINEAR = "linear_model:LinearModelLoader"


class Plugged(NamedTuple):
    server: RunningServer
    base: Path  # with a folder for each model


def write_version(folder: Path, *weights: float) -> None:
    """Of the linear model: one output."""
    folder.mkdir(parents=True)
    np.save(folder / "weights.npy", np.array(weights).reshape(-1, 1))


@pytest.fixture(scope="module")
def plugged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plugged]:
    base, modules = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("modules")
    for text, name in re.findall(r"^```python\n(# (\w+)\.py\n.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        (modules / f"{name}.py").write_text(text, encoding="utf-8")
    (base / "countries" / "1").mkdir(parents=True)
    (base / "countries" / "1" / "table.csv").write_text("DE,Germany\nFR,France\n", encoding="utf-8")
    write_version(base / "prices" / "1", 1, 2, 3)
    write_version(base / "current" / "1", 1)
    write_version(base / "current" / "2", 2)
    (base / "current" / "CURRENT").write_text("1\n", encoding="utf-8")
    source = 'source: "current_version:CurrentVersion" source_options { key: "poll_seconds" value: "0.05" }'
    unknown = 'loader_options { key: "default" value: "unknown" }'
    flag = ModelConfigFile(base / "models.config").write(
        entry("strict", base / "countries", platform="lookup_table"),
        entry("countries", base / "countries", unknown, "lookup_table"),
        entry("prices", base / "prices", 'loader_options { key: "scale" value: "0.5" }', LINEAR),
        entry("current", base / "current", source, LINEAR),
    )
    with RunningServer(flag, environment={"PYTHONPATH": str(modules)}) as server:
        yield Plugged(server, base)


def test_a_lookup_table(plugged: Plugged) -> None:
    server = plugged.server
    assert server.predict("strict", {"instances": ["FR", "DE"]}).json == {"predictions": ["France", "Germany"]}
    answer = server.predict("strict", {"instances": ["DE", "XX"]})
    assert answer.status == 404
    assert "XX" in answer.error
    answer = server.predict("countries", {"instances": ["DE", "XX"]})
    assert answer.json == {"predictions": ["Germany", "unknown"]}


def test_a_new_version_of_a_lookup_table(plugged: Plugged) -> None:
    server, base = plugged
    hidden = base / "countries" / ".2"
    hidden.mkdir()
    (hidden / "table.json").write_text('{"DE": 83, "FR": 68, "unknown": 0}', encoding="utf-8")
    hidden.rename(base / "countries" / "2")
    server.wait_for_states("strict", {2: "AVAILABLE", 1: "END"}, LIMIT)
    assert server.predict("strict", {"instances": ["FR"]}).json == {"predictions": [68]}
    server.wait_for_states("countries", {2: "END", 1: "AVAILABLE"}, LIMIT)
    assert "unknown" in server.version_error("countries", 2)[1], "no number, as the default has to be now"
    assert server.predict("countries", {"instances": ["XX"]}).json == {"predictions": ["unknown"]}


def test_a_loader_from_a_module(plugged: Plugged) -> None:
    """It is treated as any other: checked, described, and loaded again after a crash."""
    server = plugged.server
    assert server.predict("prices", {"instances": [[1.0, 2.0, 3.0]]}).json == {"predictions": [[7.0]]}
    assert server.predict("prices", {"instances": [[1.0, 2.0]]}).status == 400
    answer = server.predict("prices", '{"instances": [[NaN, 1.0, 2.0]]}')
    assert (answer.status, answer.error) == (400, "x has a NaN")
    metadata = server.get("/v1/models/prices/metadata").json["metadata"]["signature_def"]["signature_def"]
    assert metadata["serving_default"]["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert server.described("prices")["platform"] == LINEAR
    os.kill(server.process("worker cpu:0"), signal.SIGKILL)
    assert server.predict("prices", {"instances": [[2.0, 2.0, 2.0]]}).json == {"predictions": [[6.0]]}


def test_a_loader_that_fails(plugged: Plugged) -> None:
    server, base = plugged
    (base / "prices" / "3").mkdir()
    server.wait_for_states("prices", {3: "END", 1: "AVAILABLE"}, LIMIT)
    assert server.version_error("prices", 3) == ("NOT_FOUND", f"{base}/prices/3/weights.npy is missing")


def test_a_source_from_a_module(plugged: Plugged) -> None:
    server, base = plugged

    def answers(number: float) -> bool:
        answer = server.predict("current", {"instances": [[1.0]]})
        assert answer.status == 200, answer
        return bool(answer.json == {"predictions": [[number]]})

    assert answers(1.0)
    current = base / "current" / "CURRENT"
    current.write_text("2\n", encoding="utf-8")
    wait_until(lambda: answers(2.0), LIMIT, "version 2, which is current now")
    current.write_text("1\n", encoding="utf-8")
    wait_until(lambda: answers(1.0), LIMIT, "version 1 again")
    current.write_text("three\n", encoding="utf-8")
    wait_until(lambda: server.states("current").get(0) == "END", LIMIT, "the source's error")
    assert server.version_error("current", 0) == ("INVALID_ARGUMENT", "CURRENT is no version number: three")


def test_a_plug_in_that_is_not_there(tmp_path: Path) -> None:
    flag = ModelConfigFile(tmp_path / "models.config").write(entry("m", tmp_path, platform="not_there:Loader"))
    code, log = run_to_its_end(flag)
    assert code == 255
    assert log.splitlines()[-1].endswith("INVALID_ARGUMENT: Model m requests unsupported platform not_there:Loader")
