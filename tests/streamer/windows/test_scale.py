"""Small changes on a large level, and very small or large numbers, survive the ring."""

import asyncio
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.contracts import StreamSettings
from streamer.host.embedded import EmbeddedStack
from streamer.windows.scale import PLAIN, scale_from, scale_of, stored_scale
from testkit.rig import T0_MS, numbered, record, windows_of

NOISE = np.random.default_rng(4).normal(size=300)


@pytest.mark.parametrize("own", [StreamSettings(), StreamSettings(interval_s=10), StreamSettings(same_slot="mean")])
@pytest.mark.parametrize(
    "of",
    [
        lambda x: 1.7e9 + 10 * x,
        lambda x: 1e12 + 1e7 * x,
        lambda x: -1e9 + 5 * x,
        lambda x: (100 + 10 * x) * 1e-12,
        lambda x: (100 + 10 * x) * 1e18,
        lambda x: 50 + 1e-4 * x,
    ],
)
def test_what_varies_is_kept(stack: EmbeddedStack, of: Callable[[np.ndarray], np.ndarray], own: StreamSettings) -> None:
    values = of(NOISE)
    order = [*range(200), *range(210, 300), *range(200, 210), 20]  # ten come late, one very late
    rows = [
        record(i, {"stream": "s", "ts": T0_MS + at * 10_000, "value": values[at].item()}) for i, at in enumerate(order)
    ]
    found = asyncio.run(windows_of(stack.redis_url, {"s": own}, [rows[:100], rows[100:250], rows[250:]]))["s"]
    near = 0.05 if own.interval_s else 1e-5  # the first point alone says nothing of what a small channel will vary by
    usual = np.median(np.abs(values - np.median(values)))
    np.testing.assert_allclose(found.data_SC[:, 0], values, rtol=0, atol=near * usual)
    assert found.coarse is not None
    scale = scale_from(found.header.scale)
    means = found.coarse.mean_BC[:, 0] if scale is None else scale.data(found.coarse.mean_BC)[:, 0]
    assert (np.abs(means - np.median(values)) < 2 * usual).all()
    if not own.interval_s:
        assert found.header.scale


def test_the_scale_stays_when_the_interval_changes(stack: EmbeddedStack) -> None:
    seconds = np.concatenate([np.arange(0, 1200, 10), np.arange(1200, 6000, 60)])
    values = 1.7e9 + 10 * NOISE[: len(seconds)]
    rows = [
        record(i, {"stream": "s", "ts": T0_MS + int(at) * 1000, "value": value})
        for i, (at, value) in enumerate(zip(seconds, values.tolist(), strict=True))
    ]
    found = asyncio.run(windows_of(stack.redis_url, {"s": StreamSettings()}, [rows[:150], rows[150:]]))["s"]
    assert found.header.grid_version == numbered(found.header)
    np.testing.assert_allclose(found.data_SC[-79:, 0], values[-79:], rtol=0, atol=1e-4)


def test_most_channels_need_none() -> None:
    rng = np.random.default_rng(1)
    for values in (
        rng.normal(100, 10, 33),
        rng.random(33),
        np.zeros(33),
        np.full(33, 5000.0),
        rng.integers(0, 5, 33),
        [np.nan],
    ):
        assert scale_of(values) == PLAIN
    assert stored_scale([PLAIN, PLAIN]) == []
    assert scale_of(np.full(33, 1.7e9)) == (1.7e9, 1.0)


@given(st.lists(st.floats(-1e38, 1e38, allow_subnormal=False), min_size=1, max_size=40))
def test_there_and_back(values: list[float]) -> None:
    scale = scale_from([scale_of(values)])
    assert scale is not None
    ring = scale.ring(np.array(values)[:, None])
    assert np.isfinite(ring.astype(np.float32)).all()
    np.testing.assert_allclose(scale.data(ring)[:, 0], values, rtol=1e-12, atol=1e-12 * np.abs(values).max())


def test_what_has_changed_little_so_far_is_kept_as_it_is() -> None:
    """A tank in its first half an hour: that it is never below zero is only known of values as they are."""
    assert scale_of(79.1 - 0.05 * np.arange(33)) == PLAIN
