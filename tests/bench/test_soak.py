"""What a soak calls flat."""

import pytest

from bench.soak import Samples, quantile, rows_of, thirds


def test_thirds_leave_the_warming_up_out() -> None:
    assert thirds(100) == (slice(10, 40), slice(70, 100))
    assert thirds(10) == (slice(1, 4), slice(7, 10))


def test_a_quantile_lies_within_its_bucket() -> None:
    inf = float("inf")
    before, after = {0.1: 5.0, 0.2: 5.0, inf: 5.0}, {0.1: 55.0, 0.2: 105.0, inf: 105.0}
    assert quantile(before, after, 0.75) == pytest.approx(0.15)
    assert quantile(before, after, 0.25) == pytest.approx(0.05)
    assert quantile({}, {0.1: 1.0, inf: 100.0}, 0.99) == 0.1  # beyond the last bound: at least that


def test_what_rises_slowly_is_not_flat() -> None:
    samples = Samples()
    for at in range(100):
        samples.add("leak", "MB", 200.0 + at)
        samples.add("steady", "MB", 200.0 + at % 10)
        samples.add("leak", "descriptors", 10 + at // 10)
        samples.add("steady", "threads", 5)
        samples.delays.setdefault("streamer", []).append({0.01: 10.0 * at, 0.1: 10.0 * at, float("inf"): 10.0 * at})
        slow = max(at - 60, 0) * 10.0
        samples.delays.setdefault("detector", []).append(
            {0.01: 10.0 * min(at, 60), 0.1: 10.0 * min(at, 60), 1.0: 10.0 * min(at, 60) + slow, float("inf"): 10.0 * at}
        )
    judged = {(what, unit): flat for what, unit, _, _, flat in rows_of(samples)}
    assert [judged["leak", "MB"], judged["steady", "MB"]] == [False, True]
    assert [judged["leak", "descriptors"], judged["steady", "threads"]] == [False, True]
    assert [judged[f"{room}, delay p99", "ms"] for room in ("streamer", "detector")] == [True, False]
