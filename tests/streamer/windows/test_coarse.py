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
        self.head, self.slots, self.raw = CoarseHead(BLOCKS_NS[0], level=[None] * channels), slots, bytearray()

    def add(self, blocks: list[int], values: list[float], channels: list[int] | None = None) -> None:
        block_M, value_M = np.array(blocks, np.int64), np.array(values, float)
        channel_M = np.array(channels or [0] * len(blocks), np.int64)
        stored = self.window() if touches_closed(self.head, block_M) else None
        for at, raw in add(self.head, self.slots, block_M, channel_M, value_M, stored):
            self.raw.extend(bytes(max(0, at + len(raw) - len(self.raw))))
            self.raw[at : at + len(raw)] = raw

    def window(self) -> CoarseWindow | None:
        return read(self.head, self.slots, bytes(self.raw))


def test_blocks_divide_a_day_and_hold_a_slot() -> None:
    assert all(86_400 * 10**9 % block == 0 for block in BLOCKS_NS)
    assert [block_ns_of(m * MINUTE) for m in (1, 10, 11, 60)] == [10 * MINUTE, 10 * MINUTE, 15 * MINUTE, 60 * MINUTE]
    assert block_ns_of(61 * MINUTE) is None


@given(st.lists(st.tuples(st.floats(-1e30, 1e30), st.floats(0.004, 1.0)), min_size=1, max_size=20))
def test_words_keep_four_digits(cells: list[tuple[float, float]]) -> None:
    mean_B, share_B = (np.array(column) for column in zip(*cells, strict=True))
    back_B, part_B = unpack(pack(mean_B, share_B))
    assert np.allclose(back_B, mean_B, rtol=1.6e-5, atol=1e-37)
    assert np.allclose(part_B, share_B, atol=0.5 / 255 + 1e-6)
    assert np.isnan(unpack(pack(np.array([np.nan, 1.0]), np.array([1.0, 0.0])))[0]).all()


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
    assert np.allclose(window.mean_BC[:, 0], value.reshape(40, 10).mean(1), atol=0.01)
    assert (window.share_BC == 1.0).all()


def test_eight_weeks_are_kept_and_older_places_are_cleared() -> None:
    ring = Ring()
    ring.add([5, 6, 7, 8], [1.0, 2.0, 3.0, 4.0])
    ring.add([5 + BLOCKS + 2, 6 + BLOCKS + 2, 7 + BLOCKS + 2], [5.0, 6.0, 7.0])
    window = ring.window()
    assert window is not None
    assert (window.first, len(window.mean_BC)) == (10 + 0, BLOCKS)
    assert np.flatnonzero(np.isfinite(window.mean_BC[:, 0])).tolist() == [BLOCKS - 3, BLOCKS - 2, BLOCKS - 1]
    ring.add([6], [9.0])  # older than the ring
    assert ring.window() is not None
    assert len(ring.raw) <= BLOCKS * 4


def test_history_that_comes_after_the_present_goes_before_it() -> None:
    ring = Ring(slots=2)
    ring.add([100, 100, 101, 102], [1.0, 3.0, 5.0, 7.0])
    ring.add([60, 60, 61, 100], [2.0, 4.0, 6.0, 2.0])
    window = ring.window()
    assert window is not None
    assert window.first == 60
    assert window.mean_BC[[0, 1, 40, 41, 42], 0].tolist() == pytest.approx([3.0, 6.0, 2.0, 5.0, 7.0])
    assert np.isnan(window.mean_BC[2:40]).all()


def test_more_channels_keep_what_the_others_had() -> None:
    ring = Ring()
    ring.add([3, 4, 5, 6], [1.0, 2.0, 3.0, 4.0])
    ring.raw = bytearray(widen(ring.head, ring.window(), 1, ring.slots))
    ring.add([6, 6, 7], [6.0, 50.0, 60.0], [0, 1, 1])
    window = ring.window()
    assert window is not None
    assert window.mean_BC[:, 0].tolist() == pytest.approx([1.0, 2.0, 3.0, 5.0, np.nan], nan_ok=True)
    assert window.mean_BC[:, 1].tolist() == pytest.approx([np.nan] * 3 + [50.0, 60.0], nan_ok=True)
