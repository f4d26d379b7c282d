"""Records of `metrics` → columns. What breaks a rule is set aside with its reason, the rest is decoded.

A *cell* is one number of one channel of one stream at one instant; M cells of a batch are flat arrays.
The rules are those of `metric_records.MetricPoint` and `metric_records.MetricBatch`, applied to whole columns.

Shapes: M cells of a batch, R records of it
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from aiokafka import ConsumerRecord

from streamer.contracts import MAX_CHANNELS, MAX_STREAM_BYTES, StreamSettings
from streamer.errors import ContractError
from streamer.placement import Partitioner, home_partition
from streamer.record_headers import HEADER_MODE, HEADER_REHOMED, header_text
from streamer.timestamps import MAX_MS, format_ns, numeric_timestamps, parse_timestamp
from streamer.windows.body import no_value, parse_body, stamp_of, stream_of

FLOAT32_MAX = float(np.finfo(np.float32).max)
MAX_CHANNEL_CHARS = 128
_NUMBERS = {int, float, type(None)}
_NAMED = 5  # bad parts named in a dead letter's message; the raw record is there for the rest

# What a record of another tool looks like and what to do about it, as one sentence; None: like nothing known.
Advise = Callable[[bytes], str | None]


@dataclass(slots=True)
class Decoded:
    """A batch of one partition."""

    streams: list[str] = field(default_factory=list)
    channels: list[tuple[int, str]] = field(default_factory=list)  # column id → (index into streams, channel)
    column_M: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    ts_M: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))  # ns
    value_M: np.ndarray = field(default_factory=lambda: np.empty(0, np.float64))  # NaN: a known gap
    record_M: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))  # index into the records
    history_R: np.ndarray = field(default_factory=lambda: np.empty(0, bool))  # a record
    dead: list[tuple[ConsumerRecord, str, str]] = field(default_factory=list)  # record, reason, message
    rehome: list[tuple[ConsumerRecord, str]] = field(default_factory=list)  # record, stream
    refused: set[str] = field(default_factory=set)  # streams that sent something that breaks a rule


class Decoder:
    """Decodes batches under the settings of the streams (`settings` is read, never changed).

    `advise` adds to a dead letter's message what the record looks like.
    """

    def __init__(
        self,
        settings: Mapping[str, StreamSettings],
        partitions: int,
        partitioner: Partitioner,
        max_ahead_s: float,
        advise: Advise | None = None,
    ) -> None:
        self._advise = advise
        self._settings = settings
        self._partitions = partitions
        self._partitioner: Partitioner = partitioner
        self._ahead_ns = int(max_ahead_s * 1e9)

    def decode(self, records: Sequence[ConsumerRecord]) -> Decoded:
        """One batch of one partition, in offset order."""
        batch = _Batch(records)
        for index, record in enumerate(records):
            stream = None
            try:
                body = parse_body(record.value)
                stream = stream_of(body)
                self._record(batch, index, record, stream, body)
            except ContractError as error:
                batch.out.dead.append((record, error.reason, self._advised(error, record)))
                batch.out.refused |= _key_of(record) if stream is None else {stream}
        return batch.finish()

    def _advised(self, error: ContractError, record: ConsumerRecord) -> str:
        """The error, and what to do where the record looks like another tool's."""
        if self._advise is None or error.reason not in ("json", "contract"):
            return f"{error}"
        advice = self._advise(record.value or b"")
        return f"{error}" if advice is None else f"{error}. {advice}"

    def _record(self, batch: "_Batch", index: int, record: ConsumerRecord, stream: str, body: dict[str, Any]) -> None:
        home = home_partition(stream, self._partitions, self._partitioner)
        if home != record.partition:
            came = header_text(record.headers, HEADER_REHOMED)
            if came is not None:
                raise ContractError(
                    "misplaced",
                    f"re-published from {came} to partition {record.partition}, but its home is {home}: "
                    "workers disagree about partitions or partitioner",
                )
            batch.out.rehome.append((record, stream))
            return
        mode = header_text(record.headers, HEADER_MODE)
        if mode not in (None, "history", "live"):
            raise ContractError("contract", f"header mode={mode[:40]!r} is neither history nor live")
        batch.out.history_R[index] = mode == "history"
        if record.timestamp > MAX_MS:
            raise ContractError(
                "timestamp", f"the record's own time stamp {record.timestamp} lies beyond the year 2116"
            )
        settings = self._settings.get(stream)
        unit = settings.unit if settings else None
        latest = record.timestamp * 1_000_000 + self._ahead_ns if record.timestamp > 0 else None
        if "points" in body:
            self._batch(batch, index, record, stream, body, unit, latest)
        else:
            self._point(batch, index, record, stream, body, unit, latest)

    def _point(
        self, batch: "_Batch", index: int, record: ConsumerRecord, stream: str, body: dict[str, Any],
        unit: str | None, latest: int | None,
    ) -> None:  # fmt: skip
        if ("value" in body) == ("values" in body):
            raise no_value(body)
        raw = stamp_of(body)
        if raw is None and record.timestamp < 0:
            raise ContractError("timestamp", "neither the point nor its record has a time stamp: give ts")
        ts = record.timestamp * 1_000_000 if raw is None else parse_timestamp(raw, unit)
        if latest is not None and ts > latest:
            raise ContractError("future", _future(ts, record))
        if "value" in body:
            batch.cell(stream, "value", ts, _number(body["value"], "value"), index)
            return
        values = body["values"]
        if not isinstance(values, dict) or not values:
            raise ContractError("contract", "values must be an object {channel: number} with at least one channel")
        bad = _bad_channels(list(values))
        for name, value in values.items():
            if name in bad:
                continue
            try:
                batch.cell(stream, name, ts, _number(value, name), index)
            except ContractError as error:
                bad[name] = (error.reason, str(error))
        if bad:
            raise _refused(bad, len(values), "values")

    def _batch(
        self, batch: "_Batch", index: int, record: ConsumerRecord, stream: str, body: dict[str, Any],
        unit: str | None, latest: int | None,
    ) -> None:  # fmt: skip
        if "value" in body or "values" in body:
            raise no_value(body)
        channels = body.get("channels", ["value"])
        points = body["points"]
        if not isinstance(channels, list) or not channels:
            raise ContractError("contract", "channels must be a list of names")
        refused = _bad_channels(channels)
        if not isinstance(points, list) or not points:
            raise ContractError("contract", "points must be a list with at least one row [ts, number, …]")
        read = _columns(points, len(channels), unit, record.timestamp * 1_000_000)
        keep = read.keep
        if latest is not None and read.ts.max() > latest:
            for row in np.flatnonzero(keep & (read.ts > latest)).tolist():
                read.bad[row] = ("future", _future(int(read.ts[row]), record))
                keep[row] = False
        for at, name in enumerate(channels):
            if not refused or not _is_refused(name, refused):
                good = keep if read.good is None else keep & read.good[at]
                batch.cells(stream, name, read.ts[good], read.columns[at][good], index)
        if refused:
            raise _refused(refused | {f"row {row}": why for row, why in read.bad.items()}, len(channels), "channels")
        if read.bad:
            raise _refused({f"row {row}": read.bad[row] for row in sorted(read.bad)}, len(points), "rows")


class _Batch:
    def __init__(self, records: Sequence[ConsumerRecord]) -> None:
        self.out = Decoded(history_R=np.zeros(len(records), bool))
        self._stream_index: dict[str, int] = {}
        self._column_index: dict[tuple[str, str], int] = {}
        self._single: list[tuple[int, int, float, int]] = []
        self._blocks: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []

    def _column(self, stream: str, channel: str) -> int:
        found = self._column_index.get((stream, channel))
        if found is not None:
            return found
        at = self._stream_index.setdefault(stream, len(self._stream_index))
        if at == len(self.out.streams):
            self.out.streams.append(stream)
        column = self._column_index[stream, channel] = len(self.out.channels)
        self.out.channels.append((at, channel))
        return column

    def cell(self, stream: str, channel: str, ts: int, value: float, record: int) -> None:
        self._single.append((self._column(stream, channel), ts, value, record))

    def cells(self, stream: str, channel: str, ts: np.ndarray, values: np.ndarray, record: int) -> None:
        if len(ts):
            n = len(ts)
            self._blocks.append((np.full(n, self._column(stream, channel)), ts, values, np.full(n, record)))

    def finish(self) -> Decoded:
        blocks = self._blocks
        if self._single:
            column, ts, value, record = zip(*self._single, strict=True)
            blocks.append((np.array(column), np.array(ts, np.int64), np.array(value, np.float64), np.array(record)))
        if blocks:
            column_M, ts_M, value_M, record_M = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
            # arrival order: singles and batches of one stream may alternate
            order = np.argsort(record_M, kind="stable")
            out = self.out
            out.column_M, out.ts_M, out.value_M, out.record_M = (
                column_M[order], ts_M[order], value_M[order], record_M[order]
            )  # fmt: skip
        return self.out


def _key_of(record: ConsumerRecord) -> set[str]:
    """The stream that a record is about whose value does not say it, by its key; none where that cannot be a name."""
    key = (record.key or b"").decode(errors="replace")
    return {key} if 0 < len(key) <= MAX_STREAM_BYTES else set()


def _bad_channels(channels: list[Any]) -> dict[str, tuple[str, str]]:
    """Channels that cannot be taken, by name, with reason and message; raises ContractError where it is about them all."""
    if len(channels) > MAX_CHANNELS:
        raise ContractError("contract", f"{len(channels)} channels; at most {MAX_CHANNELS}: split into several streams")
    names = {name for name in channels if isinstance(name, str) and 0 < len(name) <= MAX_CHANNEL_CHARS}
    if len(names) == len(channels):
        return {}
    bad = {}
    for name in channels:
        if not isinstance(name, str) or name not in names:
            why = f"a channel's name is a text of 1 to {MAX_CHANNEL_CHARS} characters: give it another"
            bad[str(name)] = ("contract", why)
        elif channels.count(name) > 1:
            bad[name] = ("contract", "the channel is named twice: which is meant cannot be known")
    return bad


def _is_refused(name: Any, refused: Mapping[str, tuple[str, str]]) -> bool:
    return not isinstance(name, str) or name in refused


def _refused(bad: Mapping[str, tuple[str, str]], total: int, what: str) -> ContractError:
    """The error of a record of which parts were refused, and all others processed."""
    named = "; ".join(f"{part[:40]}: {why}" for part, (_, why) in list(bad.items())[:_NAMED])
    rest = f"; and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
    reason = next(iter(bad.values()))[0]
    return ContractError(reason, f"{len(bad)} of {total} {what} refused, the others processed: {named}{rest}")


def _number(value: object, what: str) -> float:
    if value is None:
        return float("nan")
    if not isinstance(value, int | float):
        raise ContractError("value", f"{what[:40]!r} {_no_number(value)}")
    if not -FLOAT32_MAX <= value <= FLOAT32_MAX:
        raise ContractError(
            "value",
            f"{what[:40]!r} = {str(value)[:40]} does not fit into float32: send null for a gap, or another unit",
        )
    return float(value)


def _no_number(value: object) -> str:
    if isinstance(value, str):
        if value.strip().lower() in ("nan", "inf", "+inf", "-inf", "infinity", "-infinity"):
            return f"must be a number or null, got {value[:20]!r}: send null for a gap"
        try:
            float(value)
        except ValueError:
            return f"must be a number or null, got the text {value[:40]!r}: leave texts out, or send them elsewhere"
        return f"must be a number or null, got the text {value[:40]!r}: send it without quotes"
    return f"must be a number or null, got {type(value).__name__}: flatten it into channels of `values`"


def _future(ts: int, record: ConsumerRecord) -> str:
    return f"ts {format_ns(ts)} is further ahead of its record's time {format_ns(record.timestamp * 1_000_000)} than allowed"


class _Read(NamedTuple):
    """Rows of a batch, column by column."""

    ts: np.ndarray  # (N,) ns
    columns: list[np.ndarray]  # float64 (N,) per channel
    keep: np.ndarray  # rows with a time stamp and the right length, bool (N,)
    good: np.ndarray | None  # numbers that can be taken, bool (channels, N); None: all
    bad: dict[int, tuple[str, str]]  # rows of which something was refused → reason and message


def _columns(points: list[Any], channels: int, unit: str | None, record_ns: int) -> _Read:
    if all(type(row) is list and len(row) == channels + 1 for row in points):
        transposed = list(zip(*points, strict=True))
        kinds = [set(map(type, column)) for column in transposed]
        if kinds[0] <= {int, float} and all(kind <= _NUMBERS for kind in kinds[1:]):
            try:
                # one kind a column: a mix would round ints beyond 2**53 to float64
                ts = numeric_timestamps(np.array(transposed[0]), unit) if len(kinds[0]) == 1 else None
                columns = [np.array(column, np.float64) for column in transposed[1:]]
            except OverflowError:
                ts = None
            fits = ts is not None and (ts >= 0).all()
            if ts is not None and fits and not any((np.abs(column) > FLOAT32_MAX).any() for column in columns):
                return _Read(ts, columns, np.ones(len(ts), bool), None, {})
    return _rows(points, channels, unit, record_ns)


def _rows(points: list[Any], channels: int, unit: str | None, record_ns: int) -> _Read:
    """Row by row, for batches that hold anything unusual: text time stamps, nulls as ts, parts to refuse."""
    ts = np.zeros(len(points), np.int64)
    values = np.full((channels, len(points)), np.nan)
    keep, good = np.ones(len(points), bool), np.ones((channels, len(points)), bool)
    bad: dict[int, tuple[str, str]] = {}
    for index, row in enumerate(points):
        try:
            if type(row) is not list or len(row) != channels + 1:
                raise ContractError("contract", f"needs [ts] and {channels} numbers")
            if row[0] is None and record_ns < 0:
                raise ContractError("timestamp", "neither the row nor its record has a time stamp")
            ts[index] = record_ns if row[0] is None else parse_timestamp(row[0], unit)
        except ContractError as error:
            bad[index], keep[index] = (error.reason, str(error)), False
            continue
        for at, value in enumerate(row[1:]):
            try:
                values[at, index] = _number(value, f"column {at + 1}")
            except ContractError as error:
                bad.setdefault(index, (error.reason, str(error)))
                good[at, index] = False
    return _Read(ts, list(values), keep, good, bad)
