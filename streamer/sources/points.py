"""What every decoder of a foreign format returns: cells in columns, what is bad, and what is known of the streams.

A *cell* is one number of one channel of one stream at one instant, as in `streamer.windows.decode`; M cells of a payload are
flat arrays. The rules of the contract (names, ranges, time stamps) are applied here, to whole columns, so that
a decoder only has to understand its format.

Shapes: M cells of a payload
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Literal

import numpy as np

from streamer.contracts import MAX_CHANNELS
from streamer.errors import ContractError
from streamer.timestamps import format_ns, numeric_timestamps, parse_timestamp

FLOAT32_MAX = float(np.finfo(np.float32).max)
MAX_CHANNEL_CHARS = 128
_HASH_BYTES = 8
_CONTROL = dict.fromkeys((*range(32), 127), "_")

Kind = Literal["gauge", "counter", "auto"]
Unit = Literal["s", "ms", "us", "ns"]


@dataclass(frozen=True, slots=True)
class Bad:
    """A part of a payload that was not processed.

    `standing` is not empty for what comes with every payload of a series by design, such as a text field or an infinite limit; it names the
    part, so that a reader can say it once and count it afterwards.
    """

    where: str
    reason: str  # short class, as in a dead letter's header
    message: str
    cure: str
    standing: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.message}. {self.cure}"


@dataclass(frozen=True, slots=True)
class Series:
    """A stream as the format describes it. `name` is the metric's name before labels were put into the stream's."""

    stream: str
    name: str
    labels: Mapping[str, str]
    kind: Kind = "auto"


@dataclass(slots=True)
class Decoded:
    """One payload."""

    series: list[Series] = field(default_factory=list)
    channels: list[tuple[int, str]] = field(default_factory=list)  # column id → (index into series, channel)
    column_M: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    ts_M: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))  # ns since 1970
    value_M: np.ndarray = field(default_factory=lambda: np.empty(0, np.float64))  # NaN: a known gap
    bad: list[Bad] = field(default_factory=list)
    families: dict[str, Kind] = field(default_factory=dict)  # metric name → kind, told apart from any point

    def cells(self) -> list[tuple[str, str, int, float]]:
        """(stream, channel, ts in ns, value) one by one: for people and tests, not for speed."""
        names = [(self.series[at].stream, channel) for at, channel in self.channels]
        return [
            (*names[c], ts, value)
            for c, ts, value in zip(
                self.column_M.tolist(), self.ts_M.tolist(), self.value_M.tolist(), strict=True
            )
        ]  # fmt: skip


def fit_name(name: str, limit: int) -> str:
    """A name within `limit` UTF-8 bytes: a longer one keeps its start and ends in a hash of the whole.

    Control characters become `_`. The same name always gives the same result.
    """
    clean = name if name.isprintable() else name.translate(_CONTROL)
    if len(clean) * 4 <= limit:
        return clean
    raw = clean.encode(errors="replace")
    if len(raw) <= limit:
        return clean
    tail = "~" + blake2b(raw, digest_size=_HASH_BYTES).hexdigest()
    return raw[: limit - len(tail)].decode(errors="ignore") + tail


class Cells:
    """Collects the cells of one payload.

    Args:
        at_ns: the record's own time stamp, for points that bring none.
        unit: of the numeric time stamps; None: by size, as in the contract.
    """

    def __init__(self, at_ns: int, unit: Unit | None = None) -> None:
        self.out = Decoded()
        self.columns: list[int] = []
        self.stamps: list[int | float] = []
        self.values: list[float] = []
        self._at_ns = at_ns
        self._unit = unit
        self._series: dict[str, int] = {}
        self._columns: dict[tuple[int, str], int] = {}
        self._width: list[int] = []
        self._absent: list[int] = []  # cells without a time stamp of their own

    def series(self, series: Series) -> int:
        """Index of a series; the same stream said twice is one."""
        at = self._series.get(series.stream)
        if at is None:
            at = self._series[series.stream] = len(self.out.series)
            self.out.series.append(series)
            self._width.append(0)
        return at

    def column(self, series: Series, channel: str = "value") -> int:
        """Column id of a channel.

        Raises:
            ContractError: the channel has no name, or the stream too many channels.
        """
        at = self.series(series)
        found = self._columns.get((at, channel))
        if found is not None:
            return found
        if not channel:
            raise ContractError("contract", f"a value of {series.stream!r} has no name")
        if self._width[at] >= MAX_CHANNELS:
            raise ContractError(
                "contract", f"{series.stream!r} has more than {MAX_CHANNELS} channels: split it into several series"
            )
        self._width[at] += 1
        column = self._columns[at, channel] = len(self.out.channels)
        self.out.channels.append((at, fit_name(channel, MAX_CHANNEL_CHARS)))
        return column

    def add(self, column: int, ts: int | float | None, value: float) -> None:
        """One cell; no time stamp means the record's own."""
        if ts is None:
            self._absent.append(len(self.stamps))
            ts = 0
        self.columns.append(column)
        self.stamps.append(ts)
        self.values.append(value)

    def extend(self, columns: Sequence[int], stamps: Sequence[int | float], values: Sequence[float]) -> None:
        """Many cells, each with a time stamp."""
        self.columns += columns
        self.stamps += stamps
        self.values += values

    def bad(self, where: str, reason: str, message: str, cure: str, standing: str = "") -> None:
        """Set a part aside."""
        self.out.bad.append(Bad(where, reason, message, cure, standing))

    def finish(self, nothing: str = "nothing can be read") -> Decoded:
        """All cells that keep the contract, in order of arrival; the others are in `bad`.

        Raises:
            ContractError: nothing was read, and not for a standing reason; its message begins with `nothing`.
        """
        out = self.out
        if self.columns:
            self._check()
        if not len(out.ts_M) and not out.families and out.bad and not any(bad.standing for bad in out.bad):
            raise ContractError(out.bad[0].reason, f"{nothing}: {out.bad[0]}")
        return out

    def _check(self) -> None:
        out = self.out
        column_M = np.array(self.columns, np.int64)
        value_M = np.array(self.values, np.float64)
        ts_M, wrong = _times(self.stamps, self._unit)
        if self._absent:
            ts_M[self._absent] = self._at_ns
        wide = np.abs(value_M) > FLOAT32_MAX  # NaN compares false: a gap stays
        refused = wide | (ts_M < 0)
        if refused.any():
            for at in np.flatnonzero(refused).tolist():
                series, channel = out.channels[column_M[at]]
                where = f"{out.series[series].stream} {channel}"
                if ts_M[at] < 0:
                    message = wrong.get(at, f"time stamp {self.stamps[at]!r} does not lie between 1970 and 2116")
                    cure = f"Expected is {_EXPECTED[self._unit]}; mend the sender's clock or precision"
                    self.bad(where, "timestamp", message, cure)
                else:
                    self.bad(
                        f"{where} at {format_ns(int(ts_M[at]))}", "value", f"{value_M[at]} does not fit into float32",
                        "Leave it out at the sender; a gap is no point or NaN",
                        "" if math.isfinite(value_M[at]) else f"{where}\0infinite",
                    )  # fmt: skip
            keep = ~refused
            column_M, ts_M, value_M = column_M[keep], ts_M[keep], value_M[keep]
        out.column_M, out.ts_M, out.value_M = column_M, ts_M, value_M


_EXPECTED = {
    None: "seconds, ms, µs or ns since 1970",
    "s": "seconds since 1970",
    "ms": "milliseconds since 1970",
    "us": "microseconds since 1970",
    "ns": "nanoseconds since 1970",
}


def _times(stamps: list[int | float], unit: Unit | None) -> tuple[np.ndarray, dict[int, str]]:
    """Time stamps → int64 ns (-1: refused), and why where it is not simply out of range."""
    if len(set(map(type, stamps))) == 1:  # a mix would round ints beyond 2**53 to float64
        try:
            column = np.array(stamps)
            if column.dtype.kind in "if":
                return numeric_timestamps(column, unit), {}
        except OverflowError:
            pass
    ts_M = np.full(len(stamps), -1, np.int64)
    wrong: dict[int, str] = {}
    for at, stamp in enumerate(stamps):
        try:
            ts_M[at] = parse_timestamp(stamp, unit)
        except ContractError as error:
            wrong[at] = str(error)
    return ts_M, wrong


def text(raw: bytes) -> str:
    """UTF-8 text of a payload, without a byte order mark.

    Raises:
        ContractError: it is none.
    """
    if not raw or raw.isspace():
        raise ContractError("empty", "the record has no value")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ContractError("encoding", f"not UTF-8 text: byte {error.start} is 0x{raw[error.start]:02x}") from None
