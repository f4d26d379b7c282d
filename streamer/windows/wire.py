"""The binary columnar value of the `windows` topic.

Layout: magic `ALW1`, uint32 LE length of a JSON header (`contracts.WindowsHeader`), the header, then the numeric
columns of `COLUMNS` (each n entries, little endian), then all values as float32, stream after stream, slot-major
(in the numbers of the ring: relative to the `scale` of the stream's header).
"""

from dataclasses import dataclass

import numpy as np
import orjson

from streamer.errors import ContractError

MAGIC = b"ALW1"
COLUMNS: tuple[tuple[str, str], ...] = (
    ("seq", "<i8"),
    ("grid_version", "<i4"),
    ("channels", "<i4"),
    ("first_slot", "<i8"),
    ("slots", "<i4"),
    ("interval_ns", "<i8"),
    ("phase_ns", "<i8"),
    ("first_offset", "<i8"),  # offsets of `metrics` the change came from
    ("last_offset", "<i8"),
    ("seen_ms", "<i8"),  # record time stamp of the newest point in the change
    ("flags", "<i4"),
)
FLAG_HISTORY = 1  # written by mode=history: never alerted on
FLAG_LATE = 2  # touches slots that were written or passed before: windows over them are scored again
_ITEM_BYTES = sum(np.dtype(d).itemsize for _, d in COLUMNS)


@dataclass(slots=True)
class WindowBatch:
    """n changes of one partition; every array is (n,), `values` is flat float32."""

    streams: list[str]
    columns: dict[str, np.ndarray]
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.streams)

    def bounds(self) -> np.ndarray:
        """Offsets into `values`, (n + 1,): change i holds values[b[i]:b[i+1]] = (slots, channels) row-major."""
        sizes = self.columns["slots"].astype(np.int64) * self.columns["channels"]
        return np.concatenate([[0], np.cumsum(sizes)])


def encode(batch: WindowBatch) -> bytes:
    """WindowBatch → message value."""
    header = orjson.dumps({"v": 1, "streams": batch.streams})
    parts = [MAGIC, len(header).to_bytes(4, "little"), header]
    parts += [np.ascontiguousarray(batch.columns[name], dtype).tobytes() for name, dtype in COLUMNS]
    parts.append(np.ascontiguousarray(batch.values, "<f4").tobytes())
    return b"".join(parts)


def decode(raw: bytes) -> WindowBatch:
    """Message value → WindowBatch (arrays are read-only views of `raw`).

    Raises:
        ContractError: reason `windows`, when the bytes are not such a message.
    """
    if raw[:4] != MAGIC or len(raw) < 8:
        raise ContractError("windows", "value does not begin with ALW1: not a windows message")
    end = 8 + int.from_bytes(raw[4:8], "little")
    try:
        streams = orjson.loads(raw[8:end])["streams"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise ContractError("windows", f"unreadable header: {error}") from None
    n = len(streams)
    if len(raw) < end + n * _ITEM_BYTES:
        raise ContractError("windows", f"{len(raw)} bytes are too few for {n} changes")
    columns: dict[str, np.ndarray] = {}
    at = end
    for name, dtype in COLUMNS:
        columns[name] = np.frombuffer(raw, dtype, n, at)
        at += n * np.dtype(dtype).itemsize
    count = int((columns["slots"].astype(np.int64) * columns["channels"]).sum())
    if len(raw) != at + 4 * count:
        raise ContractError("windows", f"{len(raw) - at} bytes of values where {4 * count} were announced")
    return WindowBatch(streams, columns, np.frombuffer(raw, "<f4", count, at))
