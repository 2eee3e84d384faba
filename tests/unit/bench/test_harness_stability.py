"""When a server has come to rest, and when its rate drifts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from bench.harness.outcome import Window
from bench.harness.stability import Settling, change, drifts

MS = 1_000_000


def windows(rates: Sequence[int], medians: Sequence[float] | None = None) -> list[Window]:
    found = []
    for rate, median in zip(rates, medians or [1.0] * len(rates), strict=True):
        window = Window(requests=rate)
        window.latencies.record([int(median * MS)] * rate)
        found.append(window)
    return found


def test_windows_that_agree_have_settled() -> None:
    settling = Settling(windows=3, tolerance=0.1)
    assert not settling.settled(windows([100, 100]))
    assert settling.settled(windows([10, 20, 95, 105, 100]))
    assert not settling.settled(windows([95, 105, 100, 130]))
    assert not settling.settled(windows([0, 0, 0]))


def test_latencies_have_to_agree_too() -> None:
    settling = Settling(windows=3, tolerance=0.1)
    assert not settling.settled(windows([100, 100, 100], [1, 1, 1.5]))
    assert settling.settled(windows([100, 100, 100], [1, 1.05, 1.02]))


def test_a_rate_that_falls_drifts_and_noise_does_not() -> None:
    assert drifts(windows([1000, 950, 900, 850, 800]))
    noise = np.random.default_rng(1).poisson(1000, 30).tolist()
    assert not drifts(windows(noise))
    assert not drifts(windows([1000, 995, 990, 985, 980]))  # by less than a tenth


def test_a_queue_that_grows_drifts_though_the_rate_does_not() -> None:
    assert drifts(windows([500] * 6, [10, 20, 30, 40, 50, 60]))


def test_few_windows_tell_nothing() -> None:
    assert not drifts([])
    assert not drifts(windows([1000, 500, 100]))
    assert not drifts([Window() for _ in range(10)])


def test_change_is_the_share_of_the_mean_along_the_line() -> None:
    assert change([80, 90, 100, 110, 120]) == pytest.approx(0.4)
    assert change([100, 100, 100, 100]) == 0
