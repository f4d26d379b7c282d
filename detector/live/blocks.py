"""The newest blocks of a stream in memory: what averages over hours are made of.

They begin with the coarse ring and follow the slots that arrive, by the ring's own rules (streamer/windows/coarse.py),
so that they are the same whether a worker has just started or has been there for days.

Shapes: B blocks, N slots, C channels.
"""

import numpy as np

from streamer.windows.coarse import OPEN, CoarseWindow, mean_of, reopened, rounded

KEPT = 96  # before the first slot that is scored: eight hours of five minutes, the longest average reaches back four
BEHIND = 256  # slots not yet scored that a stream in memory may have, and that are scored in one piece
READ = KEPT + BEHIND  # of a stream that is not further behind; a block is a slot or more


class Blocks:
    """Means of the newest blocks, first..hi: enough for averages at each slot not yet scored. NaN where nothing is known."""

    __slots__ = ("_counts", "_head", "_most", "_slots", "_sums", "block_ns", "first", "hi", "mean_BC")

    def __init__(self, window: CoarseWindow, interval_ns: int) -> None:
        self._slots = window.block_ns / interval_ns
        self.block_ns, self._head = window.block_ns, window.head
        self._most = KEPT + -(-2 * BEHIND * interval_ns // window.block_ns)
        self.first, self.hi = window.first, window.first + len(window.mean_BC) - 1
        self.mean_BC = window.mean_BC.copy()
        self._sums = {block: np.array(sums) for block, sums, _ in window.head.open}
        self._counts = {block: np.array(counts) for block, _, counts in window.head.open}

    def add(self, centre_N: np.ndarray, values_NC: np.ndarray) -> None:
        """Slots that have arrived: their centres in ns since 1970, and values, NaN where there is none."""
        there_NC = np.isfinite(values_NC)
        held_N = there_NC.any(1)
        if not held_N.any():
            return
        block_N = centre_N[held_N] // self.block_ns
        values_NC, there_NC = np.nan_to_num(values_NC[held_N].astype(np.float64)), there_NC[held_N]
        self._advance(int(block_N.max()))
        for block in np.unique(block_N).tolist():
            if block < self.first:
                continue
            mine = block_N == block
            if block not in self._sums:
                self._sums[block], self._counts[block] = reopened(self.mean_BC[block - self.first], self._slots)
            self._sums[block] += values_NC[mine].sum(0)
            self._counts[block] += there_NC[mine].sum(0)
            self.mean_BC[block - self.first] = mean_of(self._sums[block], self._counts[block])
        for block in [block for block in self._sums if block <= self.hi - OPEN]:
            del self._sums[block], self._counts[block]
            self.mean_BC[block - self.first] = rounded(self._head, self.mean_BC[block - self.first])

    def _advance(self, newest: int) -> None:
        if newest <= self.hi:
            return
        channels = self.mean_BC.shape[1]
        more = min(newest - self.hi, self._most)
        self.mean_BC = np.concatenate([self.mean_BC, np.full((more, channels), np.nan)])[-self._most :]
        self.hi = newest
        self.first = newest - len(self.mean_BC) + 1
        for block in [block for block in self._sums if block < self.first]:
            del self._sums[block], self._counts[block]

    def means(self, first: int, count: int) -> np.ndarray:
        """Means (count, C) of the blocks from one on, NaN where nothing is known."""
        out_BC = np.full((count, self.mean_BC.shape[1]), np.nan)
        low, high = max(first, self.first), min(first + count - 1, self.hi)
        if high >= low:
            at = low - first
            out_BC[at : at + high - low + 1] = self.mean_BC[low - self.first : high - self.first + 1]
        return out_BC
