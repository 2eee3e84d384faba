"""The metrics' text: every figure, where it comes from, and that Prometheus can read it whatever a model is called."""

from __future__ import annotations

from typing import Any

import pytest
from fake_administered import FakeAdministered
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from manager.metrics import FIGURES, MetricsPage, render
from manager.request_figures import Rows
from manager.request_metrics import REQUEST_FIGURES
from ringserve.errors import Code, ServingError


@pytest.fixture
def server() -> FakeAdministered:
    """Version 2 of m is available, 3 failed or not, and there are labels and a shadow."""
    server = FakeAdministered()
    model = server.add("m", 1, 2)
    split = model.label_splits.add(label="prod")
    split.versions.add(version=1, weight=3)
    split.versions.add(version=2, weight=1)
    model.version_labels["old"] = 1
    model.shadows.add(version=1, sampling_rate=0.5)
    return server


def samples(description: dict[str, Any]) -> dict[str, dict[tuple[str, ...], float]]:
    """By name, by the labels' values in the order of their definition."""
    order = {figure.name: figure.labels for figure in FIGURES}
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(render(description, {})):
        for sample in family.samples:
            assert set(sample.labels) == set(order[sample.name])
            key = tuple(sample.labels[label] for label in order[sample.name])
            assert key not in found.setdefault(sample.name, {}), "the same sample twice"
            found[sample.name][key] = sample.value
    return found


def test_the_figures_are_those_of_the_description(server: FakeAdministered) -> None:
    found = samples(server.describe())
    assert found.pop("ringserve_process_resident_bytes").pop(("supervisor",)) > 1 << 20
    assert found == {
        "ringserve_version_state": {
            ("m", "2", state): float(state == "AVAILABLE") for state in ("START", "LOADING", "AVAILABLE", "UNLOADING", "END")
        },
        "ringserve_version_load_seconds": {("m", "2"): 0.25},
        "ringserve_version_loads_total": {("m", "ok"): 2},
        "ringserve_warm_up_seconds": {("m", "2", "file"): 0.5},
        "ringserve_warm_up_requests": {("m", "2", "file"): 3},
        "ringserve_label_weight": {("m", "prod", "1"): 0.75, ("m", "prod", "2"): 0.25, ("m", "old", "1"): 1},
        "ringserve_shadow_requests_total": {
            ("m", "1", "compared"): 9,
            ("m", "1", "differed"): 1,
            ("m", "1", "failed"): 0,
            ("m", "1", "dropped"): 0,
        },
        "ringserve_worker_up": {("cpu:0",): 1},
        "ringserve_worker_restarts_total": {("cpu:0",): 1},
        "ringserve_frontend_restarts_total": {("frontend rest 0",): 1},
        "ringserve_model_memory_reserved_bytes": {(): 3 << 20},
        "ringserve_model_memory_limit_bytes": {(): 1 << 30},
        "ringserve_config_reloads_total": {("ok",): 1, ("refused",): 0},
    }


def test_processes_that_do_not_run_have_no_memory(server: FakeAdministered) -> None:
    found = samples(server.describe())["ringserve_process_resident_bytes"]
    assert found[("worker cpu:0",)] == 200 << 20
    assert ("frontend rest 0",) not in found


def test_a_version_that_is_not_loaded_has_its_state_only(server: FakeAdministered) -> None:
    server.stuck.add(("n", 1))
    server.add("n", 1)
    found = samples(server.describe())
    assert found["ringserve_version_state"][("n", "1", "LOADING")] == 1
    assert ("n", "1") not in found["ringserve_version_load_seconds"]


def test_of_ended_versions_only_the_last_that_failed_is_shown(server: FakeAdministered) -> None:
    failed = ServingError(Code.INTERNAL, "no graph")
    for version, error in ((3, failed), (4, failed), (5, None), (6, None)):
        server.disk["/models/m"][version] = error
        server.find()
    found = samples(server.describe())["ringserve_version_state"]
    assert {version: state for (_, version, state), value in found.items() if value} == {"6": "AVAILABLE", "4": "END"}


def test_of_a_model_that_is_gone_nothing_is_shown(server: FakeAdministered) -> None:
    server.lingering.add(("n", 1))
    server.add("n", 1)
    server.message.model_config_list.ClearField("config")
    server.find()
    assert set(samples(server.describe())["ringserve_version_state"]) == {
        ("n", "1", state) for state in ("START", "LOADING", "AVAILABLE", "UNLOADING", "END")
    }
    assert "ringserve_version_loads_total" not in samples(server.describe())


def test_the_page_is_made_once_a_second_at_most(server: FakeAdministered) -> None:
    now = [100.0]
    rows: Rows = {}
    page = MetricsPage(server.describe, lambda: rows, lambda: now[0])
    first = page.text()
    assert 'model="m"' in first
    server.add("new", 1)
    rows["inflight", ("m", "cpu:0")] = [3]
    now[0] += 0.9
    assert page.text() is first
    now[0] += 0.2
    assert 'model="new"' in page.text()
    assert 'ringserve_inflight_requests{model="m",worker="cpu:0"} 3\n' in page.text()


def test_every_figure_has_its_help_and_type_even_without_a_sample() -> None:
    text = render(FakeAdministered().describe(), {})
    figures = [(figure.name, figure.kind, figure.help) for figure in FIGURES]
    for name, kind, what in figures + [(figure.name, figure.kind, figure.help) for figure in REQUEST_FIGURES]:
        assert f"# HELP {name} {what}\n" in text
        assert f"# TYPE {name} {kind}\n" in text
        assert name.endswith("_total") == (kind == "counter")


@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=1))
def test_any_name_comes_through(name: str) -> None:
    server = FakeAdministered()
    server.add("m", 1)
    description = server.describe()
    description["models"][0]["name"] = name
    lines = [line for line in render(description, {}).split("\n") if line.startswith("ringserve_version_load_seconds{")]
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    assert lines == [f'ringserve_version_load_seconds{{model="{escaped}",version="1"}} 0.25']
