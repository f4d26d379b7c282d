"""Collecting the notifications of a batch into `windows` messages of bounded size.

Shapes: N slots of a run, C channels
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from streamer.windows.header import StreamHeader
from streamer.windows.pauses import SHORTEST_MS, usual_ms
from streamer.windows.wire import COLUMNS, FLAG_HISTORY, FLAG_LATE, WindowBatch, encode

# Floats in one notice: a longer run of slots is cut, so that a bulk load of a wide stream fits into messages.
MAX_RUN = 1 << 16
# Payload after which a message is closed; far below any broker's limit of 1 MB.
MAX_BYTES = 700_000


class Notice(NamedTuple):
    """One run of changed slots of one stream: the columns of `wire.COLUMNS`, and values float32 (slots, channels)."""

    stream: str
    columns: tuple[int, ...]
    values_NC: np.ndarray
    pause_ms: int = 0  # how long the stream is silent by habit, where that is worth telling


def numbered_notices(
    stream: str, header: StreamHeader, first: int, values_NC: np.ndarray, late: bool, history: bool,
    offsets: tuple[int, int] = (-1, -1),
) -> list[Notice]:  # fmt: skip
    """A run of changed slots from `first` on, in pieces that fit into messages.

    Each piece takes the header's next sequence number, so that a reader notices when one is missing.
    """
    rows = _rows(values_NC)
    made = []
    for at in range(0, len(values_NC), rows):
        header.seq += 1
        piece_NC = values_NC[at : at + rows]
        made.append(_notice(stream, header, header.seq, first + at, piece_NC, late, history, offsets))
    return made


def reread_notice(
    stream: str, header: StreamHeader, seq: int, first: int, values_NC: np.ndarray, history: bool
) -> Notice:
    """A run read back from Redis, under the sequence number `seq` that was set aside for it.

    A run too long for one message is cut to its newest slots: the gap in the sequence numbers makes the reader fetch
    the whole window anyway.
    """
    rows = _rows(values_NC)
    if len(values_NC) > rows:
        first, values_NC = first + len(values_NC) - rows, values_NC[-rows:]
    return _notice(stream, header, seq, first, values_NC, True, history, (-1, -1))


def _rows(values_NC: np.ndarray) -> int:
    channels: int = values_NC.shape[1]
    return max(1, MAX_RUN // channels)


def _notice(
    stream: str, header: StreamHeader, seq: int, first: int, values_NC: np.ndarray, late: bool, history: bool,
    offsets: tuple[int, int],
) -> Notice:  # fmt: skip
    flags = FLAG_HISTORY * history | FLAG_LATE * late
    slots, channels = values_NC.shape
    columns = (
        seq, header.grid_version, channels, first, slots, header.interval_ns, header.phase_ns, *offsets,
        header.last_seen_ms, flags,
    )  # fmt: skip
    pause_ms = usual_ms(header.pauses)
    return Notice(stream, columns, values_NC, pause_ms if pause_ms >= SHORTEST_MS else 0)


class Notices:
    """Notices of one batch, in order."""

    def __init__(self) -> None:
        self._notices: list[Notice] = []

    def __len__(self) -> int:
        return len(self._notices)

    def extend(self, notices: Iterable[Notice]) -> None:
        """More notices, after those that are there."""
        self._notices.extend(notices)

    def messages(self) -> Iterator[bytes]:
        """Encoded `windows` values, each below the brokers' limit."""
        begin, size = 0, 0
        for at, notice in enumerate(self._notices):
            weight = 80 + len(notice.stream) + notice.values_NC.nbytes
            if at > begin and size + weight > MAX_BYTES:
                yield _encode(self._notices[begin:at])
                begin, size = at, 0
            size += weight
        if begin < len(self._notices):
            yield _encode(self._notices[begin:])


def _encode(notices: list[Notice]) -> bytes:
    table = np.array([notice.columns for notice in notices], np.int64)
    columns = {name: table[:, i] for i, (name, _) in enumerate(COLUMNS)}
    values = np.concatenate([notice.values_NC.reshape(-1) for notice in notices])
    pauses = {notice.stream: notice.pause_ms for notice in notices if notice.pause_ms}
    return encode(WindowBatch([notice.stream for notice in notices], columns, values, pauses=pauses))
