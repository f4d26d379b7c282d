"""The coarse ring keeps the means of eight weeks, in whatever order and batches points come."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.windows.coarse import (
    BLOCKS,
    BLOCKS_NS,
    CoarseHead,
    CoarseWindow,
    add,
    block_ns_of,
    pack,
    read,
    touches_closed,
    unpack,
    widen,
)

MINUTE = 60 * 10**9


class Ring:
    """Head and bytes of one stream, as ingest keeps them."""

    def __init__(self, channels: int = 1, slots: float = 10) -> None:
        self.head, self.slots, self.raw = (
            CoarseHead.of_channels(BLOCKS_NS[0], [f"c{c}" for c in range(channels)]),
            slots,
            bytearray(),
        )

    def add(self, blocks: list[int], values: list[float], channels: list[int] | None = None) -> None:
        block_M, value_M = np.array(blocks, np.int64), np.array(values, float)
        channel_M = np.array(channels or [0] * len(blocks), np.int64)
        stored = self.window() if touches_closed(self.head, min(blocks)) else None
        for at, raw in add(self.head, self.slots, block_M, channel_M, value_M, stored):
            self.raw.extend(bytes(max(0, at + len(raw) - len(self.raw))))
            self.raw[at : at + len(raw)] = raw

    def window(self) -> CoarseWindow | None:
        return read(self.head, bytes(self.raw))


def test_blocks_divide_a_day_and_hold_a_slot() -> None:
    assert all(86_400 * 10**9 % block == 0 for block in BLOCKS_NS)
    lengths = [block_ns_of(seconds * 10**9) for seconds in (1, 7, 60, 120, 660, 3600)]
    assert lengths == [seconds * 10**9 for seconds in (300, 300, 300, 600, 900, 3600)]
    assert block_ns_of(61 * MINUTE) is None


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=20))
def test_words_keep_three_digits_and_the_order(parts: list[float]) -> None:
    part_B = np.sort(np.array(parts))
    back_B = unpack(pack(part_B))
    assert np.allclose(back_B, part_B, rtol=2**-10, atol=2.0**-31)
    assert (np.diff(back_B) >= 0).all()
    assert np.isnan(unpack(pack(np.array([np.nan]))))[0]
    assert unpack(pack(np.array([0.0, 1e30, -1e-30]))).tolist() == pytest.approx([0.0, 2.0**31, 0.0], rel=0.01)


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 400), max_size=6))
def test_any_order_and_any_cut_give_the_means(seed: int, places: list[int]) -> None:
    rng = np.random.default_rng(seed)
    block = np.repeat(np.arange(1000, 1040), 10)
    value = 1.7e9 + rng.normal(size=len(block)) * 10
    order = rng.permutation(len(block))
    edges = [0, *sorted(places), len(block)]
    ring = Ring()
    for low, high in pairwise(edges):
        chosen = order[low:high]
        if len(chosen):
            ring.add(block[chosen].tolist(), value[chosen].tolist())
    window = ring.window()
    assert window is not None
    assert window.first == 1000
    if not places:  # in one call every mean is exact but for the word
        assert np.allclose(window.mean_BC[:, 0], value.reshape(40, 10).mean(1), atol=0.1)
    low, high = value.reshape(40, 10).min(1), value.reshape(40, 10).max(1)
    assert ((window.mean_BC[:, 0] >= low - 0.1) & (window.mean_BC[:, 0] <= high + 0.1)).all()


def test_eight_weeks_are_kept_and_older_places_are_cleared() -> None:
    ring = Ring()
    ring.add([5, 6, 7, 8], [1.0, 2.0, 3.0, 4.0])
    ring.add([5 + BLOCKS + 2, 6 + BLOCKS + 2, 7 + BLOCKS + 2], [5.0, 6.0, 7.0])
    window = ring.window()
    assert window is not None
    assert (window.first, len(window.mean_BC)) == (10, BLOCKS)
    assert np.flatnonzero(np.isfinite(window.mean_BC[:, 0])).tolist() == [BLOCKS - 3, BLOCKS - 2, BLOCKS - 1]
    ring.add([6], [9.0])  # older than the ring
    assert ring.window() is not None
    assert len(ring.raw) <= BLOCKS * 2


def test_history_that_comes_after_the_present_goes_before_it() -> None:
    ring = Ring(slots=2)
    ring.add([100, 100, 101, 102], [1.0, 3.0, 5.0, 7.0])
    ring.add([60, 60, 61, 100], [2.0, 4.0, 6.0, 2.0])
    window = ring.window()
    assert window is not None
    assert window.first == 60
    assert window.mean_BC[[0, 1, 40, 41, 42], 0].tolist() == pytest.approx([3.0, 6.0, 2.0, 5.0, 7.0], rel=1e-3)
    assert np.isnan(window.mean_BC[2:40]).all()


def test_more_channels_keep_what_the_others_had() -> None:
    ring = Ring()
    ring.add([3, 4, 5, 6], [1.0, 2.0, 3.0, 4.0])
    ring.raw = bytearray(widen(ring.head, ring.window(), ["more"]))
    ring.add([6, 6, 7], [6.0, 50.0, 60.0], [0, 1, 1])
    window = ring.window()
    assert window is not None
    assert window.mean_BC[:, 0].tolist() == pytest.approx([1.0, 2.0, 3.0, 5.0, np.nan], rel=1e-3, nan_ok=True)
    assert window.mean_BC[:, 1].tolist() == pytest.approx([np.nan] * 3 + [50.0, 60.0], rel=1e-3, nan_ok=True)
