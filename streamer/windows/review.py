"""Whether a stream still follows its grid: steps between its points are counted, and looked at closely when they differ.

Counting costs a few bytes of the header. When nearly all of a block of steps are much shorter or much longer than the
interval, or the stream has no regular grid, its next instants are kept until there are enough to infer a grid anew
(`watch`). What comes of it depends on the sequence of points alone, not on how it is cut into batches.

Shapes: M cells, F cells that are newer than all before
"""

from dataclasses import dataclass

import numpy as np

from streamer.windows.grid import DIFFERENCES, Grid, infer_grid

# Steps of a block, and the share of them that must be too short or too long: half of two replicas' steps are short, half
# of those of a stream that loses every other point at random are long.
BLOCK = 8
SUSPICIOUS = 0.8
# A grid that was confirmed is looked at again after twice as many steps, up to this: the watch is half a header long.
LONGEST_BLOCK = 128
WATCHED = DIFFERENCES + 1
_FIRST = np.zeros(1, np.int64)
SAME = 0.1  # an interval that differs by less is the same one, measured again


@dataclass(slots=True)
class Review:
    """What is counted of a stream on its grid. Stored in its header."""

    newest_ns: int = 0  # the newest instant so far; 0: none
    block: int = BLOCK
    steps: int = 0  # of the present block, of which …
    short: int = 0  # … at most half an interval long
    long: int = 0  # … at least one and a half
    watch: list[int] | None = None  # ns; None: not watched closely

    def scan(self, interval_ns: int, regular: bool, ts_M: np.ndarray) -> int | None:
        """Count cells in order of arrival; returns after how many of them the watch is complete, None if not yet.

        Cells after those are not counted: they may belong to another grid.
        """
        if len(ts_M) == 1:  # by far the most frequent case
            ts = int(ts_M[0])
            if ts <= self.newest_ns:
                return None
            at_F, newer_F = _FIRST, ts_M
        elif (steps := self._even(interval_ns, regular, ts_M)) is not None:
            self.steps = steps
            self.newest_ns = int(ts_M[-1])
            return None
        else:
            top_M = np.maximum.accumulate(np.concatenate([[self.newest_ns], ts_M]))
            at_F = np.flatnonzero(top_M[1:] > top_M[:-1])
            if not len(at_F):
                return None
            newer_F = ts_M[at_F]
        used = 0 if self.watch is not None else self._count(interval_ns, regular, newer_F)
        if self.watch is not None:
            taken = newer_F[used : used + WATCHED - len(self.watch)]
            self.watch += taken.tolist()
            used += len(taken)
            if len(self.watch) == WATCHED:
                self.newest_ns = int(newer_F[used - 1])
                return int(at_F[used - 1]) + 1
        self.newest_ns = int(newer_F[-1])
        return None

    def _even(self, interval_ns: int, regular: bool, ts_M: np.ndarray) -> int | None:
        """Steps of the present block after a run in which each is about an interval long, the usual case of many cells; None
        where it is not so simple."""
        if self.watch is not None or not regular or self.short or self.long:
            return None
        step_M = np.diff(ts_M)
        first = int(ts_M[0]) - self.newest_ns
        low, high = min(first, int(step_M.min())), max(first, int(step_M.max()))
        if 2 * low <= interval_ns or 2 * high >= 3 * interval_ns:
            return None
        return (self.steps + len(ts_M)) % self.block

    def _count(self, interval_ns: int, regular: bool, newer_F: np.ndarray) -> int:
        """Count steps up to the block that asks for a watch; returns how many instants were counted."""
        if len(newer_F) == 1:
            step = int(newer_F[0]) - self.newest_ns
            self.steps += 1
            self.short += 2 * step <= interval_ns
            self.long += 2 * step >= 3 * interval_ns
            self._end_block(regular)
            return 1
        step_F = np.diff(newer_F, prepend=self.newest_ns)
        short_F, long_F = 2 * step_F <= interval_ns, 2 * step_F >= 3 * interval_ns
        if (regular and self.steps + len(step_F) < self.block) or not (short_F.any() or long_F.any() or not regular):
            # nothing to be suspicious of; whole blocks leave no trace
            ended, rest = divmod(self.steps + len(step_F), self.block)
            if ended == 0:
                self.steps, self.short, self.long = rest, self.short + int(short_F.sum()), self.long + int(long_F.sum())
                return len(step_F)
            if self.short + self.long < SUSPICIOUS * self.block:
                self.steps, self.short, self.long = rest, 0, 0
                return len(step_F)
        at = 0
        while at < len(step_F) and self.watch is None:
            part = slice(at, at + self.block - self.steps)
            self.short += int(short_F[part].sum())
            self.long += int(long_F[part].sum())
            self.steps += len(short_F[part])
            at += len(short_F[part])
            self._end_block(regular)
        return at

    def _end_block(self, regular: bool) -> None:
        if self.steps < self.block:
            return
        if not regular or max(self.short, self.long) >= SUSPICIOUS * self.block:
            self.watch = []
        self.steps = self.short = self.long = 0

    def decide(self, grid: Grid) -> Grid | None:
        """The grid that the watched instants follow; None when it is the one the stream is on. Ends the watch."""
        found = infer_grid(np.array(self.watch, np.int64))
        self.watch = None
        same = found.regular and abs(found.interval_ns / grid.interval_ns - 1) < SAME
        if (same and grid.regular) or not (found.regular or grid.regular):
            self.block = min(2 * self.block, LONGEST_BLOCK)
            return None
        self.block = BLOCK
        # Points that follow no interval stay where they are: their slots mean what they meant.
        return found if found.regular else grid._replace(regular=False)


def may_end(review: Review, cells: int) -> bool:
    """Whether so many cells more can complete a watch at all."""
    return cells >= WATCHED - len(review.watch or ())
