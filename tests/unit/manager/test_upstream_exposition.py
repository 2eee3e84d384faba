"""TensorFlow Serving's text format, to the byte."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from manager.upstream_exposition import Metric, exponential, expose

COUNT = Metric("/tensorflow/serving/request_count", "counter", ("model_name", "status"))
SIZES = Metric("/b/sizes-of.all", "histogram", ("model",), (1.0, 2.0, 4.0))
LATENCY = "10 18 32.4 58.32 104.976 188.957 340.122 612.22 1102 1983.59 3570.47 6426.84 11568.3 20823 37481.3 67466.4 121440"
LATENCY += " 218591 393464 708235 1.27482e+06 2.29468e+06 4.13043e+06 7.43477e+06 1.33826e+07 2.40887e+07 4.33596e+07"
LATENCY += " 7.80473e+07 1.40485e+08 2.52873e+08 4.55172e+08 8.19309e+08 1.47476e+09 +Inf"


def test_a_page() -> None:
    assert (
        expose(
            {
                COUNT: {("m", "OK"): [3], ("m", "NOT_FOUND"): [12], ("", "OK"): [10_000_000_000]},
                SIZES: {("m",): [0, 2, 0, 1, 12_345_678]},
                Metric("/a/runs", "counter"): {(): [5]},
                Metric("/a/label_less", "histogram", bounds=(1.0,)): {(): [1, 2, 7]},
            }
        )
        == """\
# TYPE :a:label_less histogram
:a:label_less_bucket{le="1"} 1
:a:label_less_bucket{le="+Inf"} 3
:a:label_less_sum{} 7
:a:label_less_count{} 3
# TYPE :a:runs counter
:a:runs{} 5
# TYPE :b:sizes:of:all histogram
:b:sizes:of:all_bucket{model="m",le="1"} 0
:b:sizes:of:all_bucket{model="m",le="2"} 2
:b:sizes:of:all_bucket{model="m",le="4"} 2
:b:sizes:of:all_bucket{model="m",le="+Inf"} 3
:b:sizes:of:all_sum{model="m"} 1.23457e+07
:b:sizes:of:all_count{model="m"} 3
# TYPE :tensorflow:serving:request_count counter
:tensorflow:serving:request_count{model_name="",status="OK"} 10000000000
:tensorflow:serving:request_count{model_name="m",status="NOT_FOUND"} 12
:tensorflow:serving:request_count{model_name="m",status="OK"} 3
"""
    )


def test_metrics_without_values_have_their_types_unless_they_are_late() -> None:
    gauge, late = Metric("/map", "gauge", ("model",)), Metric("/size", "histogram", bounds=(1.0,), late=True)
    assert (
        expose({gauge: {}, late: {}, COUNT: {}}) == "# TYPE :map gauge\n# TYPE :tensorflow:serving:request_count counter\n"
    )
    assert "# TYPE :size histogram\n" in expose({late: {(): [0, 0, 0]}})


def test_metrics_are_in_the_order_of_their_internal_names() -> None:
    """In which a slash comes before digits and the underscore, unlike the colon it is printed as."""
    names = ["/a/b", "/a0", "/a_b", "/a/b/c", "/ab"]
    lines = expose({Metric(name, "counter"): {} for name in names}).splitlines()
    assert lines == [f"# TYPE {name} counter" for name in (":a:b", ":a:b:c", ":a0", ":a_b", ":ab")]


def test_latency_bounds_are_printed_as_upstream_prints_them() -> None:
    metric = Metric("/l", "histogram", (), exponential(10.0, 1.8, 33))
    lines = expose({metric: {(): metric.empty()}}).splitlines()[1:-2]
    assert lines == [f':l_bucket{{le="{bound}"}} 0' for bound in LATENCY.split()]


def test_a_value_that_equals_a_bound_belongs_above_it() -> None:
    values = SIZES.empty()
    for value in (0, 1, 2, 2, 4, 9):
        SIZES.observe(values, value)
    assert values == [1, 1, 2, 2, 18]


def test_what_labels_values_may_hold() -> None:
    text = expose({COUNT: {('a\\b"c\nd', "\ud800é"): [1]}})
    assert text.splitlines()[1] == r':tensorflow:serving:request_count{model_name="a\\b\"c\nd",status="?é"} 1'


@given(st.dictionaries(st.tuples(st.text(st.characters(codec="utf-8")), st.just("OK")), st.integers(0, 1 << 53), max_size=5))
def test_prometheus_reads_any_counts(counts: dict[tuple[str, str], int]) -> None:
    text = expose({COUNT: {labels: [count] for labels, count in counts.items()}})
    (family,) = text_string_to_metric_families(text)
    assert {(s.labels["model_name"], s.labels["status"]): s.value for s in family.samples} == counts


@given(st.lists(st.integers(0, 10**12), max_size=50))
def test_prometheus_reads_any_histogram(values: list[int]) -> None:
    metric = Metric("/l", "histogram", ("m",), exponential(10.0, 1.8, 33))
    counted = metric.empty()
    for value in values:
        metric.observe(counted, value)
    (family,) = text_string_to_metric_families(expose({metric: {("x",): counted}}))
    buckets = {s.labels["le"]: s.value for s in family.samples if s.name == ":l_bucket"}
    assert list(buckets) == LATENCY.split()
    for bound, exact in zip(buckets, metric.bounds, strict=False):
        assert buckets[bound] == sum(value < exact for value in values)
    found = {s.name: s.value for s in family.samples if s.name != ":l_bucket"}
    assert found == {":l_sum": float(f"{sum(values):.6g}"), ":l_count": len(values)}
