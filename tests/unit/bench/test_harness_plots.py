"""Axes and the text of elements."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.harness.markup import element, joined, stylesheet
from bench.harness.plot_axis import Axis, fitting_axis, linear_axis, log_axis, percentile_axis

Make = Callable[[str, Sequence[float]], Axis]
VALUES = st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=20)


@pytest.mark.parametrize("make", [linear_axis, log_axis, fitting_axis])
@given(values=VALUES)
def test_all_values_have_a_place_in_their_order(make: Make, values: list[float]) -> None:
    axis = make("x", values)
    places = [axis.place(value) for value in sorted(values)]
    assert places == sorted(places)
    assert places[0] >= 0
    assert places[-1] <= 1
    assert axis.low <= min(values) * (1 + 1e-6)
    assert axis.high >= max(values) * (1 - 1e-6)
    assert (axis.place(axis.low), axis.place(axis.high)) == (0, 1)


@pytest.mark.parametrize("make", [linear_axis, log_axis])
@given(values=VALUES)
def test_ticks_are_some_and_can_be_told_apart(make: Make, values: list[float]) -> None:
    axis = make("x", values)
    marks, labels = zip(*axis.ticks, strict=True)
    assert 2 <= len(marks) <= 18
    assert list(marks) == sorted(set(marks))
    assert (marks[0], marks[-1]) == pytest.approx((axis.low, axis.high))
    assert len(set(labels)) == len(labels)


def test_axes_of_nothing_and_of_what_is_no_number() -> None:
    for values in ([], [math.nan], [0.0], [math.inf, 0.0]):
        for axis in (linear_axis("x", values), log_axis("x", values), fitting_axis("x", values)):
            assert axis.low < axis.high


def test_wide_values_make_a_logarithmic_axis() -> None:
    assert fitting_axis("x", [1.0, 21.0]).log
    assert not fitting_axis("x", [1.0, 19.0]).log
    assert [label for _, label in log_axis("x", [0.7, 4.0]).ticks] == ["0.5", "1", "2", "5"]
    assert [label for _, label in log_axis("x", [0.2, 4000.0]).ticks] == ["0.1", "1", "10", "100", "1,000", "10,000"]
    assert [label for _, label in linear_axis("x", [4.3]).ticks] == ["0", "1", "2", "3", "4", "5"]


def test_each_nine_has_as_much_room() -> None:
    axis = percentile_axis(100_000)
    assert [label for _, label in axis.ticks] == ["0 %", "50 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"]
    assert axis.place(2.0) - axis.place(1.0) == pytest.approx(axis.place(5.0) - axis.place(4.0))
    assert [label for _, label in percentile_axis(3).ticks] == ["0 %", "50 %", "90 %"]


def test_contents_and_attributes_are_escaped_and_elements_are_not() -> None:
    inner = element("b", "<&>", title='"<')
    assert inner == '<b title="&quot;&lt;">&lt;&amp;&gt;</b>'
    assert element("p", inner, None, 3, class_="a", aria_label="b") == f'<p class="a" aria-label="b">{inner}3</p>'
    assert element("meta", charset="utf-8") == '<meta charset="utf-8">'
    assert (
        element("details", open=True, hidden=False, id=None, x=1.0, y=0.12345) == '<details open x="1" y="0.123"></details>'
    )
    assert (
        element("i", "a" + inner)
        == "<i>a&lt;b title=&quot;&amp;quot;&amp;lt;&quot;&gt;&amp;lt;&amp;amp;&amp;gt;&lt;/b&gt;</i>"
    )
    assert joined("<", inner) == f"&lt;{inner}"


def test_a_style_sheet_that_would_end_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="can't hold"):
        stylesheet("p { } </style>")
