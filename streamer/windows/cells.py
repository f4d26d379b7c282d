"""One stream's cells of a batch. Shapes: M cells, R records of the batch"""

from typing import NamedTuple

import numpy as np

from streamer.windows.header import StreamHeader
from streamer.windows.open_window import Waiting
from streamer.windows.pauses import observe, observe_one


class Cells(NamedTuple):
    """Cells of one stream in order of arrival; all arrays are (M,)."""

    ts_M: np.ndarray  # ns
    name_M: list[str]  # channels
    value_M: np.ndarray  # float64
    history_M: np.ndarray  # came with mode=history
    record_M: np.ndarray  # index into the batch's records

    def after(self, count: int) -> "Cells":
        """All but the first `count`."""
        return Cells(
            self.ts_M[count:], self.name_M[count:], self.value_M[count:], self.history_M[count:], self.record_M[count:]
        )

    def before(self, count: int) -> "Cells":
        """The first `count`."""
        return Cells(
            self.ts_M[:count], self.name_M[:count], self.value_M[:count], self.history_M[:count], self.record_M[:count]
        )

    def only(self, chosen_M: np.ndarray) -> "Cells":
        """Those where the mask is true."""
        names = [name for name, mine in zip(self.name_M, chosen_M, strict=True) if mine]
        ts_M, value_M, history_M, record_M = (
            column[chosen_M] for column in (self.ts_M, self.value_M, self.history_M, self.record_M)
        )
        return Cells(ts_M, names, value_M, history_M, record_M)

    def with_waiting(self, waiting: Waiting, record: int) -> "Cells":
        """The cells that waited for a grid first; they count as the record's."""
        return Cells(
            np.concatenate([np.array(waiting.ts, np.int64), self.ts_M]),
            waiting.channel + self.name_M,
            np.concatenate([np.array(waiting.value, np.float64), self.value_M]),
            np.concatenate([np.array(waiting.history, bool), self.history_M]),
            np.concatenate([np.full(len(waiting.ts), record), self.record_M]),
        )


def note_pauses(header: StreamHeader, cells: Cells, stamp_R: np.ndarray) -> None:
    """How long the stream is silent by habit (history has been silent for ever); `stamp_R`: time stamps of the batch's
    records, Unix ms."""
    ts_M, record_M = cells.ts_M, cells.record_M
    if record_M[0] == record_M[-1]:  # one record, by far the most frequent case
        if not cells.history_M[0]:
            oldest_ms = int(ts_M[0] if len(ts_M) == 1 else ts_M.min()) // 1_000_000
            observe_one(header.pauses, header.last_seen_ms, int(stamp_R[record_M[0]]), oldest_ms)
        return
    live_M = ~cells.history_M
    if not live_M.all():
        ts_M, record_M = ts_M[live_M], record_M[live_M]
    if not len(ts_M):
        return
    begins = np.flatnonzero(np.diff(record_M, prepend=-1))
    oldest_R = np.minimum.reduceat(ts_M, begins) // 1_000_000
    observe(header.pauses, header.last_seen_ms, stamp_R[record_M[begins]], oldest_R)
