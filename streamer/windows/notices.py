"""Collecting the notifications of a batch into `windows` messages of bounded size."""

from collections.abc import Iterator

import numpy as np

from streamer.windows.header import StreamHeader
from streamer.windows.wire import COLUMNS, FLAG_HISTORY, FLAG_LATE, WindowBatch, encode

# Floats in one change: a longer run is cut, so that a bulk load of a wide stream fits into messages.
MAX_RUN = 1 << 16
# Payload after which a message is closed; far below any broker's limit of 1 MB.
MAX_BYTES = 700_000


class Notices:
    """Changes of streams, in order."""

    def __init__(self) -> None:
        self._streams: list[str] = []
        self._rows: list[tuple[int, ...]] = []
        self._values: list[np.ndarray] = []

    def __len__(self) -> int:
        return len(self._streams)

    def add(
        self, stream: str, header: StreamHeader, seq: int | None, first: int, values_NC: np.ndarray,
        late: bool, history: bool, offsets: tuple[int, int] = (-1, -1),
    ) -> None:  # fmt: skip
        """One run of changed slots. Without `seq` it takes the header's next sequence numbers, one a piece.

        A run with a `seq` of its own is cut to its newest slots when it is too long for one piece.
        """
        channels = values_NC.shape[1]
        rows = max(1, MAX_RUN // channels)
        flags = FLAG_HISTORY * history | FLAG_LATE * late
        if seq is not None and len(values_NC) > rows:
            first, values_NC = first + len(values_NC) - rows, values_NC[-rows:]
        for at in range(0, len(values_NC), rows):
            piece = values_NC[at : at + rows]
            if seq is None:
                header.seq += 1
            number = header.seq if seq is None else seq
            self._streams.append(stream)
            self._rows.append(
                (number, header.grid_version, channels, first + at, len(piece), header.interval_ns,
                 header.phase_ns, *offsets, header.last_seen_ms, flags)
            )  # fmt: skip
            self._values.append(piece)

    def messages(self) -> Iterator[bytes]:
        """Encoded `windows` values, each below the brokers' limit."""
        begin, size = 0, 0
        for at, (stream, values) in enumerate(zip(self._streams, self._values, strict=True)):
            weight = 80 + len(stream) + values.nbytes
            if at > begin and size + weight > MAX_BYTES:
                yield self._encode(begin, at)
                begin, size = at, 0
            size += weight
        if begin < len(self._streams):
            yield self._encode(begin, len(self._streams))

    def _encode(self, begin: int, end: int) -> bytes:
        table = np.array(self._rows[begin:end], np.int64)
        columns = {name: table[:, i] for i, (name, _) in enumerate(COLUMNS)}
        values = np.concatenate([v.reshape(-1) for v in self._values[begin:end]])
        return encode(WindowBatch(self._streams[begin:end], columns, values))
