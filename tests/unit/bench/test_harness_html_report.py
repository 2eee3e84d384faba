"""The page of results: it stands alone, says what was found, and trusts no text."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_outcomes import eventful, outcome, steady, window

from bench.harness.html_report import machine_facts, page, write_html
from bench.harness.outcome import Event, Generator, Outcome
from bench.harness.plan import Closed, Open

#: Elements that HTML leaves without an end.
VOID = {"meta"}
#: A text that does harm wherever it is not escaped.
HOSTILE = "\"'></title></style></svg><script>alert(1)</script><img src=x onerror=alert(1)>&lt;"


class Page(HTMLParser):
    """A page's elements and texts. Raises AssertionError where an element is not closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.texts.append(data)

    def count(self, tag: str) -> int:
        return sum(found == tag for found, _ in self.elements)

    def attributes(self, name: str) -> list[str]:
        return [attributes[name] or "" for _, attributes in self.elements if name in attributes]

    def __contains__(self, text: str) -> bool:
        return any(text in each for each in self.texts)


def shown(*outcomes: Outcome, command: tuple[str, ...] = ("ringserve", "bench")) -> Page:
    return Page(page(outcomes, command, {}))


def hostile() -> Outcome:
    windows = [window([1.0, 2.0], {HOSTILE: 3})]
    about = {"model": HOSTILE, HOSTILE: HOSTILE, "nested": {HOSTILE: [HOSTILE]}}
    return outcome(windows, about=about, events=[Event(0.5, HOSTILE)], batch_sizes={HOSTILE: 1})


#: The elements of a page whose texts are plain.
PLAIN = [tag for tag, _ in shown(outcome([window([1.0], {"503": 1})], about={"model": "m"})).elements]


@pytest.mark.parametrize("outcomes", [(), (eventful(),), (hostile(), hostile(), eventful())])
def test_the_page_asks_for_nothing_and_runs_nothing(outcomes: tuple[Outcome, ...]) -> None:
    text = page(outcomes, [HOSTILE], {"machine": {HOSTILE: HOSTILE}})
    found = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "embed", "base", "a", "form"} & {
        tag for tag, _ in found.elements
    }
    names = {name for _, attributes in found.elements for name in attributes}
    assert not {name for name in names if name.startswith("on") or name in ("src", "href", "srcset", "action")}
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'; style-src 'unsafe-inline'" in found.attributes("content")


def test_texts_from_outside_are_shown_as_they_are() -> None:
    found = shown(hostile(), hostile(), command=("bench", HOSTILE))
    for what in ("</script>", "&lt;"):
        assert what in found
    assert HOSTILE in found  # nothing was cut out of it either
    assert f"0.50 s: {HOSTILE}" in found


@settings(max_examples=40)
@given(st.text(), st.text())
def test_no_text_breaks_the_page(name: str, kind: str) -> None:
    odd = shown(outcome([window([1.0], {kind: 1})], about={"model": name}))
    assert [tag for tag, _ in odd.elements] == PLAIN


@pytest.mark.parametrize("outcomes", [(eventful(),), (steady(200, 1.0, shape=Closed(1)), eventful(shape=Open(5.0)))])
def test_every_plot_has_a_name_and_a_table_beside_it(outcomes: tuple[Outcome, ...]) -> None:
    found = shown(*outcomes)
    ids = found.attributes("id")
    assert len(ids) == len(set(ids))
    plots = [attributes for tag, attributes in found.elements if tag == "svg" and attributes.get("role") == "img"]
    assert len(plots) == found.count("figure") == {1: 4, 2: 2 + 4 + 3}[len(outcomes)]
    for attributes in plots:
        assert set((attributes["aria-labelledby"] or "").split()) <= set(ids)
    assert found.count("figcaption") == found.count("figure")
    # All runs, the generators of each, and errors where there are any, have tables without a plot.
    assert found.count("table") == found.count("figure") + 1 + len(outcomes) + sum(bool(each.failed) for each in outcomes)
    assert found.count("caption") == found.count("table")


def test_figures_are_those_of_the_run() -> None:
    found = shown(eventful())
    for text in ("worker killed", "timeout", "8 clients", "half_plus_two", "55.6%", "16"):
        assert text in found
    whole = eventful().whole.latencies
    assert f"{whole.percentile(50) / 1e6:.2f}" in found


def test_an_open_load_has_both_times() -> None:
    assert "from when it was due" in shown(eventful(shape=Open(5.0)))
    assert "from when it was due" not in shown(eventful())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"generators": [Generator(0.4, 0.0), Generator(0.93, 0.0)]}, "A generator was busy for 93% of the time"),
        ({"generators": [Generator(0.4, 0.005)]}, "went out 5.00 ms or more after it was due"),
        ({"generators": [Generator(0.4, 0.0, 7), Generator(0.4, 0.0, 5)]}, "12 requests were due and never sent"),
        ({"stable": False}, "The rate drifted"),
        ({"complete": False}, "The run was interrupted"),
    ],
)
def test_doubts_are_said(fields: dict[str, Any], words: str) -> None:
    quiet = steady(200, 1.0)
    assert "warnings" not in shown(quiet).attributes("class")
    assert words in shown(steady(200, 1.0, **fields))
    assert words in shown(quiet, steady(200, 1.0, **fields))


def test_runs_without_an_answer_are_shown() -> None:
    dead = outcome([window([], {"connection lost": 12})])
    for found in (shown(dead), shown(dead, eventful()), shown(outcome([]))):
        assert not any("nan" in text.lower() for text in found.texts)
    assert "12 of 12 requests failed" in shown(dead)
    assert "no right answer" in shown(dead, eventful())


def test_runs_go_by_what_differs_between_them() -> None:
    runs = [steady(50, 1.0, 2, shape=Closed(clients), about={"rows": rows}) for clients in (1, 4) for rows in (1, 8)]
    texts = shown(*runs).texts
    for name in ("rows 1, 4 clients", "rows 8, 4 clients"):
        assert name in texts
    for name in ("rows 1, p99", "rows 8, p50"):
        assert name in texts  # lines of throughput against latency
    assert not any("tfs" in text and "clients" in text for text in texts)


def test_many_sizes_of_batches_are_put_together() -> None:
    found = shown(outcome([window([1.0])], batch_sizes={str(size): 1 for size in range(1, 129)}))
    for text in ("2-3", "64-127", "128-255"):
        assert text in found
    bars = [attributes for _, attributes in found.elements if attributes.get("class") == "bar"]
    assert len(bars) == 8


def test_lines_stay_on_their_plot() -> None:
    text = page([eventful(), steady(300, 2.0)], [], {})
    numbers = [float(number) for path in re.findall(r' d="([^"]+)"', text) for number in re.findall(r"[\d.]+", path)]
    assert numbers
    assert all(0 <= number <= 640 for number in numbers)


def test_the_file_is_one_and_says_where_the_load_came_from(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.html"
    write_html([eventful()], path, ["ringserve", "bench", "a b"], machine_facts())
    found = Page(path.read_text(encoding="utf-8"))
    assert "ringserve bench 'a b'" in found
    assert "tensorflow" in found
    assert [entry.name for entry in path.parent.iterdir()] == ["a.html"]
