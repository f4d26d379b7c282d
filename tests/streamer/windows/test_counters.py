"""Counter or gauge: found out again and again, told by how a channel falls; a reset is a gap."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from streamer.contracts import StreamSettings
from streamer.host.embedded import EmbeddedStack
from streamer.windows.increments import counts_up, increases
from streamer.windows.ring import StreamWindow
from testkit.rig import T0_MS, numbered, record, windows_of

RNG = np.random.default_rng(10)


def window(
    stack: EmbeddedStack, values: Sequence[float] | np.ndarray, own: StreamSettings | None = None, size: int = 50
) -> StreamWindow:
    """The window of a stream with these values every 10 s, so many a batch."""
    rows = [
        record(i, {"stream": "s", "ts": T0_MS + i * 10_000, "value": value})
        for i, value in enumerate(np.asarray(values).tolist())
    ]
    batches = [rows[at : at + size] for at in range(0, len(rows), size)]
    return asyncio.run(windows_of(stack.redis_url, {"s": own or StreamSettings()}, batches))["s"]


def heap(slots: int) -> np.ndarray:
    """+2 MB a scrape, collected to 200 MB at 400."""
    values = [200_000_000]
    while len(values) < slots:
        grown = values[-1] + int(RNG.integers(1_500_000, 2_500_000))
        values.append(grown if grown < 400_000_000 else 200_000_000 + int(RNG.integers(0, 3_000_000)))
    return np.array(values)


def rows(slots: int) -> np.ndarray:
    """A table: +10 rows a scrape, retention deletes .2 % twice."""
    values = 5_000_000 + np.cumsum(RNG.integers(0, 21, slots))
    values[200:] -= 10_000
    values[400:] -= 10_000
    return values


def warming(slots: int) -> np.ndarray:
    """A process: memory rises for ten minutes, then it hovers."""
    values = 500_000_000 + np.cumsum(RNG.integers(500_000, 4_000_000, slots))
    values[60:] = values[60] + RNG.integers(-2_000_000, 2_000_000, slots - 60)
    return values


@pytest.mark.parametrize("made", [heap, rows, warming])
@pytest.mark.parametrize("size", [1, 50, 250])
def test_a_gauge_that_only_rises_at_first_is_a_gauge_in_the_end(stack: EmbeddedStack, made: object, size: int) -> None:
    values = made(500)  # type: ignore[operator]
    found = window(stack, values, size=size)
    assert (found.header.counters, found.header.grid_version) == ([False], numbered(found.header))
    ours, known = found.data_SC[: len(values), 0], np.isfinite(found.data_SC[: len(values), 0])
    assert known.mean() > (0.95 if size <= 50 else 0.6)
    np.testing.assert_allclose(
        ours[known], values[: len(ours)][known], rtol=1e-6
    )  # its history is as if it always was one


def test_a_counter_stays_one_and_its_resets_are_gaps(stack: EmbeddedStack) -> None:
    step = RNG.integers(50, 150, 600)
    raw = 1_000_000 + np.cumsum(step)
    for at in (200, 203, 300, 303, 306):  # also when it dies again at once, and again
        raw[at:] = np.cumsum(step[at:]) - step[at] // 2
    found = window(stack, raw)
    assert (found.header.counters, found.header.grid_version) == ([True], numbered(found.header))
    ours = found.values_SC[:, 0]
    assert np.flatnonzero(np.isnan(ours[1:])).tolist() == [199, 202, 299, 302, 305]
    known = np.flatnonzero(np.isfinite(ours))
    np.testing.assert_array_equal(ours[known], step[known])


@pytest.mark.parametrize("size", [1, 40])
def test_a_counter_that_stood_still_at_first_is_found_later(stack: EmbeddedStack, size: int) -> None:
    step = np.concatenate([np.zeros(100, int), RNG.integers(1, 90, 200)])
    raw = 70_000 + np.cumsum(step)
    found = window(stack, raw, size=size)
    assert (found.header.counters, found.header.grid_version) == ([True], numbered(found.header))
    np.testing.assert_array_equal(found.values_SC[1:, 0], step[1:])


@pytest.mark.parametrize("channels", [None, ["value"]])
def test_a_given_interval_does_not_switch_counters_off(stack: EmbeddedStack, channels: list[str] | None) -> None:
    step = RNG.integers(1, 90, 300)
    found = window(stack, 70_000 + np.cumsum(step), StreamSettings(interval_s=10, channels=channels))
    assert found.header.counters == [True]
    np.testing.assert_array_equal(found.values_SC[1:, 0], step[1:])
    named = window(stack, 70_000 + np.cumsum(step), StreamSettings(channels=["value"]))
    assert (named.header.counters, named.header.grid_version) == ([True], numbered(named.header))


def test_what_the_settings_say_is_not_doubted(stack: EmbeddedStack) -> None:
    assert window(stack, heap(300), StreamSettings(kind="counter")).header.counters == [True]
    assert window(stack, np.cumsum(RNG.integers(1, 90, 300)) + 5000, StreamSettings(kind="gauge")).header.counters == [
        False
    ]


def test_one_channel_changes_its_kind_and_the_others_keep_what_they_had(stack: EmbeddedStack) -> None:
    noise, table, step = RNG.normal(size=500), rows(500), RNG.integers(1, 90, 500)
    count = 5000 + np.cumsum(step)
    points = [
        record(
            i,
            {
                "stream": "s",
                "ts": T0_MS + i * 10_000,
                "values": {"n": float(noise[i]), "t": int(table[i]), "c": int(count[i])},
            },
        )
        for i in range(500)
    ]
    batches = [points[at : at + 50] for at in range(0, 500, 50)]
    found = asyncio.run(windows_of(stack.redis_url, {"s": StreamSettings()}, batches))["s"]
    assert found.header.counters == [False, False, True]
    np.testing.assert_array_equal(found.values_SC[:, 0], noise.astype(np.float32))
    np.testing.assert_allclose(found.data_SC[1:, 1], table[1:], rtol=1e-6)
    np.testing.assert_array_equal(found.values_SC[1:, 2], step[1:])
    assert found.coarse is not None
    block_S = (T0_MS + np.arange(500) * 10_000) * 10**6 // found.coarse.block_ns
    means = [noise[block_S == found.coarse.first + at].mean() for at in range(len(found.coarse.mean_BC))]
    np.testing.assert_allclose(found.coarse.mean_BC[:, 0], means, atol=0.02)
    after = found.coarse.mean_BC[-4:, 1]
    assert (after[np.isfinite(after)] + found.header.scale[1][0] > 4_900_000).all()


def test_a_late_point_of_a_slot_before_the_kept_one_is_no_fall() -> None:
    late = np.arange(3)
    made = increases(np.array([13_965.0, 14_164, 14_208]), late, 14_126.0, 0, 14_126.0)
    assert made.gauge is None
    np.testing.assert_array_equal(made.value_X, [np.nan, 199, 44])


def test_rules() -> None:
    assert counts_up(np.arange(2000, 2080, 2) + np.arange(40) % 2) is True
    assert counts_up(np.arange(2000.0, 2040)) is None  # equal steps: a gauge that ramps up, or a slow counter
    assert counts_up(np.full(40, 2000.0)) is None
    assert counts_up(np.array([1.5, 2.5])) is False
    assert counts_up(np.array([5.0, 4.0])) is False
    slots = np.arange(4)
    made = increases(np.array([900.0, 1000, 950, 960]), slots, 800.0, -2, 1000.0)
    assert (made.value_X[[0, 1, 3]].tolist(), bool(np.isnan(made.value_X[2])), made.gauge) == (
        [50, 100, 10],
        True,
        (1, 1000.0),
    )
    assert increases(np.array([900.0, 1000, 5, 96]), slots, None, 0, 1000.0).gauge is None
    assert increases(np.array([100.0, 60]), slots[:2], None, 0, 1e6).gauge is None  # it has just begun again
