"""Blocks in memory are those of the coarse ring, however long a worker has been there."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detector.live.blocks import BEHIND, KEPT, READ, Blocks
from streamer.windows.coarse import BLOCKS_NS, CoarseHead, CoarseWindow, add, read

BLOCK, MINUTE = BLOCKS_NS[0], 60 * 10**9
SLOTS = 2000


class _Streamer:
    """The ring as ingest keeps it."""

    def __init__(self) -> None:
        self.head, self.raw = CoarseHead.of_channels(BLOCK, ["value"]), bytearray()

    def add(self, first: int, values_N: np.ndarray) -> None:
        block_N = (first + np.arange(len(values_N))) * MINUTE // BLOCK
        for at, raw in add(self.head, BLOCK / MINUTE, block_N, np.zeros(len(block_N), np.int64), values_N):
            self.raw.extend(bytes(max(0, at + len(raw) - len(self.raw))))
            self.raw[at : at + len(raw)] = raw

    def window(self, last: int | None = None) -> CoarseWindow:
        window = read(self.head, bytes(self.raw), last)
        assert window is not None
        return window


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 97), min_size=1, max_size=30), st.integers(0, 29))
def test_a_restart_changes_nothing(seed: int, sizes: list[int], restart: int) -> None:
    rng = np.random.default_rng(seed)
    values_N = np.where(rng.random(SLOTS) < 0.1, np.nan, 100 + rng.normal(size=SLOTS).cumsum())
    streamer, at = _Streamer(), 300
    streamer.add(0, values_N[:at])
    old = new = Blocks(streamer.window(), MINUTE)
    for i, size in enumerate(sizes):
        piece_N = values_N[at : at + size]
        streamer.add(at, piece_N)
        for blocks in {id(old): old, id(new): new}.values():
            blocks.add((at + np.arange(len(piece_N))) * MINUTE, piece_N[:, None])
        at += size
        if i == restart:
            new = Blocks(streamer.window(READ), MINUTE)
    newest = streamer.window().first + len(streamer.window().mean_BC) - 1
    assert np.allclose(old.means(newest - 39, 40), new.means(newest - 39, 40), rtol=1e-12, equal_nan=True)
    assert np.allclose(old.means(newest - 39, 40), streamer.window().mean_BC[-40:], rtol=1e-12, equal_nan=True)


def test_only_the_newest_are_kept_and_a_hole_is_one() -> None:
    streamer = _Streamer()
    streamer.add(0, np.arange(600.0))
    blocks = Blocks(streamer.window(), MINUTE)
    for at in range(600, 60_000, 500):
        blocks.add((at + np.arange(500)) * MINUTE, np.ones((500, 1)))
    assert len(blocks.mean_BC) <= KEPT + 2 * BEHIND * MINUTE // BLOCK + 1
    blocks.add(np.array([90_000]) * MINUTE, np.array([[5.0]]))
    newest = 90_000 * MINUTE // BLOCK
    tail = blocks.means(newest - 2, 3)[:, 0]
    assert np.isnan(tail[:2]).all()
    assert tail[2] == 5.0
    blocks.add(np.array([10]) * MINUTE, np.array([[7.0]]))  # older than what is kept
    assert blocks.hi == newest


def test_each_slot_of_a_piece_has_its_hours() -> None:
    """Blocks of one slot: of 256 slots scored together the first 69 had no averages, which silenced them."""
    head, raw = CoarseHead.of_channels(BLOCK, ["value"]), bytearray()
    for at, part in add(head, 1.0, np.arange(2 * READ), np.zeros(2 * READ, np.int64), np.ones(2 * READ)):
        raw.extend(bytes(max(0, at + len(part) - len(raw))))
        raw[at : at + len(part)] = part
    window = read(head, bytes(raw), READ)
    assert window is not None
    blocks = Blocks(window, BLOCK)
    for slot in range(2 * READ, 4 * READ):
        first = blocks.hi - READ + 1
        assert np.isfinite(blocks.means(first, READ)).all()
        blocks.add(np.array([slot * BLOCK]), np.ones((1, 1)))
    blocks.add(np.arange(4 * READ, 4 * READ + BEHIND) * BLOCK, np.ones((BEHIND, 1)))  # before they are scored
    assert np.isfinite(blocks.means(blocks.hi - BEHIND - READ + 1, READ)).all()
