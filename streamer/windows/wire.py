"""The binary columnar value of the `windows` topic.

Layout: magic `ALW1`, uint32 LE length of a JSON header (`contracts.WindowsHeader`), the header, then the numeric
columns of `COLUMNS` (each n entries, little endian), then all values as float32, stream after stream, slot-major
(in the numbers of the ring: relative to the `scale` of the stream's header).

A message may say besides, in its header, up to when everything of the partition has been received (`received_ms`): a
*mark*. It stands behind the changes it speaks of, so that whoever has read it has read those. A mark has no changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from streamer.contracts import MAX_CHANNELS, MAX_STREAM_BYTES
from streamer.errors import ContractError
from streamer.timestamps import MAX_MS

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
# What a column may hold, both ends included. No slot of a stream lies farther from 1970 than 2**62 ns.
_FAR = 2**62
_BOUNDS: dict[str, tuple[int, int]] = {
    "seq": (1, _FAR),
    "grid_version": (1, 2**31 - 1),
    "channels": (1, MAX_CHANNELS),
    "first_slot": (-_FAR, _FAR),
    "slots": (1, 2**31 - 1),
    "interval_ns": (1, _FAR),
    "phase_ns": (-_FAR, _FAR),
    "seen_ms": (0, MAX_MS),
}


@dataclass(slots=True)
class WindowBatch:
    """n changes of one partition; every array is (n,), `values` is flat float32."""

    streams: list[str]
    columns: dict[str, np.ndarray]
    values: np.ndarray
    received_ms: int | None = None  # a mark: all that came to the partition up to then has been announced …
    refused: list[str] = field(default_factory=list)  # … and these streams sent since the last one, but nothing usable
    pauses: Mapping[str, int] = field(default_factory=dict)  # stream → ms between its deliveries, of those that pause

    def __len__(self) -> int:
        return len(self.streams)

    def bounds(self) -> np.ndarray:
        """Offsets into `values`, (n + 1,): change i holds values[b[i]:b[i+1]] = (slots, channels) row-major."""
        sizes = self.columns["slots"].astype(np.int64) * self.columns["channels"]
        return np.concatenate([[0], np.cumsum(sizes)])


def encode(batch: WindowBatch) -> bytes:
    """WindowBatch → message value."""
    head: dict[str, Any] = {"v": 1, "streams": batch.streams}
    if batch.received_ms is not None:
        head |= {"received_ms": batch.received_ms, "refused": batch.refused}
    if batch.pauses:
        head["pauses"] = batch.pauses
    header = orjson.dumps(head)
    parts = [MAGIC, len(header).to_bytes(4, "little"), header]
    parts += [np.ascontiguousarray(batch.columns[name], dtype).tobytes() for name, dtype in COLUMNS]
    parts.append(np.ascontiguousarray(batch.values, "<f4").tobytes())
    return b"".join(parts)


def mark(received_ms: int, refused: list[str]) -> bytes:
    """A message without changes, see the module.

    >>> decode(mark(1_790_000_000_000, ["web.cpu"])).refused
    ['web.cpu']
    """
    columns = {name: np.empty(0, dtype) for name, dtype in COLUMNS}
    return encode(WindowBatch([], columns, np.empty(0, np.float32), received_ms, refused))


def decode(raw: bytes) -> WindowBatch:
    """Message value → WindowBatch (arrays are read-only views of `raw`).

    Every number is within its bounds when this returns: no reader needs to ask for negative shapes, or for instants
    that no clock shows.

    Raises:
        ContractError: reason `windows`, when the bytes are not such a message. No worker writes one: only somebody
            else who may write to the topic.
    """
    if raw[:4] != MAGIC or len(raw) < 8:
        raise ContractError("windows", "value does not begin with ALW1: not a windows message")
    end = 8 + int.from_bytes(raw[4:8], "little")
    head = _head(raw[8:end])
    streams: list[str] = head["streams"]
    n = len(streams)
    if len(raw) < end + n * _ITEM_BYTES:
        raise ContractError("windows", f"{len(raw)} bytes are too few for {n} changes")
    columns: dict[str, np.ndarray] = {}
    at = end
    for name, dtype in COLUMNS:
        columns[name] = np.frombuffer(raw, dtype, n, at)
        at += n * np.dtype(dtype).itemsize
    for name, (low, high) in _BOUNDS.items():
        wrong = np.flatnonzero((columns[name] < low) | (columns[name] > high))
        if len(wrong):
            found = int(columns[name][wrong[0]])
            raise ContractError("windows", f"{name} {found} of {streams[wrong[0]][:40]!r} is not in {low}..{high}")
    last = columns["first_slot"] + columns["slots"].astype(np.float64)
    for slot in (columns["first_slot"].astype(np.float64), last):
        # A point at the very end of what is accepted may lie half an interval before its slot's centre.
        wrong = np.flatnonzero(np.abs(slot * columns["interval_ns"] + columns["phase_ns"]) > 1.01 * _FAR)
        if len(wrong):
            raise ContractError("windows", f"a slot of {streams[wrong[0]][:40]!r} lies beyond the year 2116")
    count = int((columns["slots"].astype(np.int64) * columns["channels"]).sum())
    if len(raw) != at + 4 * count:
        raise ContractError("windows", f"{len(raw) - at} bytes of values where {4 * count} were announced")
    values = np.frombuffer(raw, "<f4", count, at)
    return WindowBatch(streams, columns, values, *_marked(head))


def _head(raw: bytes) -> dict[str, Any]:
    """The header, with names of streams that are some. Raises ContractError."""
    try:
        header = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ContractError("windows", f"unreadable header: {error}") from None
    streams = header.get("streams") if isinstance(header, dict) else None
    if not isinstance(streams, list) or header.get("v") != 1:
        raise ContractError("windows", "the header is not that of a windows message of version 1")
    if not all(isinstance(name, str) and 0 < len(name) <= MAX_STREAM_BYTES for name in streams):
        raise ContractError("windows", f"a stream's name is not a text of 1 to {MAX_STREAM_BYTES} characters")
    found: dict[str, Any] = header
    return found


def _marked(head: Mapping[str, Any]) -> tuple[int | None, list[str], Mapping[str, int]]:
    """What a header says beside its streams. Raises ContractError."""
    received_ms, refused, pauses = head.get("received_ms"), head.get("refused", []), head.get("pauses", {})
    sound = (
        (received_ms is None or (type(received_ms) is int and 0 <= received_ms < 1 << 53))
        and isinstance(refused, list)
        and all(isinstance(stream, str) for stream in refused)
        and isinstance(pauses, dict)
        and all(type(pause) is int and 0 <= pause < 1 << 53 for pause in pauses.values())
    )
    if not sound:
        raise ContractError("windows", "received_ms, refused or pauses in the header are not what they should be")
    return received_ms, refused, pauses
