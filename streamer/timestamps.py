"""Event time: every accepted time-stamp form becomes int64 nanoseconds since 1970 (UTC)."""

import re
from datetime import UTC, datetime

import numpy as np

from streamer.errors import ContractError

NS = 1_000_000_000
UNITS = {"s": NS, "ms": 1_000_000, "us": 1_000, "ns": 1}
# Upper bounds of each unit's numeric range: 1e11 s is the year 5138, 1e11 ms is 1973. A number in between
# is therefore never ambiguous for data recorded after 1973.
_BOUNDS = ((1e11, NS), (1e14, 1_000_000), (1e17, 1_000))
_MAX_NS = 2**62  # the year 2116: twice an instant still fits into int64, which slot arithmetic needs
MAX_MS = _MAX_NS // 1_000_000  # the same of time stamps of records
# RFC 3339, and what ISO 8601 allows besides and can only mean one thing: no seconds, an offset without a colon
_RFC3339 = re.compile(r"^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d)(:\d\d)?((?<=:\d\d:\d\d)\.\d{1,12})?([Zz]|[+-]\d\d:?\d\d)$")


def parse_timestamp(value: object, unit: str | None = None) -> int:
    """One time stamp in any accepted form → int64 nanoseconds.

    Args:
        value: number (seconds below 1e11, ms below 1e14, µs below 1e17, else ns) or RFC 3339 text.
        unit: "s", "ms", "us" or "ns"; overrides the guess for numbers.

    Raises:
        ContractError: reason `timestamp`, when it is none of these, negative, or beyond 2116.
    """
    if isinstance(value, str):
        return _parse_text(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ContractError("timestamp", f"ts must be a number or RFC 3339 text, got {type(value).__name__}")
    if value != value or value in (float("inf"), float("-inf")) or value < 0:
        raise ContractError("timestamp", f"ts {value!r} is not a time after 1970")
    factor = UNITS[unit] if unit else next((f for bound, f in _BOUNDS if value < bound), 1)
    ns = value * factor if isinstance(value, int) else _float_ns(value, factor)
    if ns > _MAX_NS:
        raise ContractError("timestamp", f"ts {value!r} lies beyond the year 2116")
    return ns


def _float_ns(value: float, factor: int) -> int:
    # Seconds as float64 carry about 0.2 µs today: round to µs, so that 1.1 and 1100 (ms) are the same instant.
    ns = round(value * factor)
    return round(ns / 1000) * 1000 if factor >= 1_000_000 else ns


def _parse_text(text: str) -> int:
    match = _RFC3339.match(text.strip())
    if match is None:
        raise ContractError("timestamp", f"ts {text[:40]!r} is not RFC 3339 (2026-01-31T12:00:00Z){_text_cure(text)}")
    day, clock, second, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{second or ':00'}{'+00:00' if zone in 'Zz' else zone}")
    except ValueError as error:
        raise ContractError("timestamp", f"ts {text[:40]!r}: {error}") from None
    seconds = int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    ns = seconds * NS + int((fraction or ".0")[1:10].ljust(9, "0"))
    if not 0 <= ns <= _MAX_NS:
        raise ContractError("timestamp", f"ts {text[:40]!r} lies outside 1970 to 2116")
    return ns


def _text_cure(text: str) -> str:
    if text.strip().replace(".", "", 1).isdigit():
        return ": send the number without quotes"
    return "; an offset is required: Z for UTC" if re.match(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d", text.strip()) else ""


def numeric_timestamps(column: np.ndarray, unit: str | None = None) -> np.ndarray:
    """A whole column of numeric time stamps → int64 ns, (N,); the same rule as `parse_timestamp`.

    Bad entries (negative, not finite, beyond 2116) become -1, so that the caller can name their rows.
    """
    if column.dtype.kind == "f":
        bad = ~np.isfinite(column) | (column < 0)
        safe = np.where(bad, 0.0, column)
    else:
        bad = column < 0
        safe = np.where(bad, 0, column)
    if unit:
        factor = np.full(len(column), UNITS[unit], np.int64)
    else:
        factor = np.select([safe < bound for bound, _ in _BOUNDS], [f for _, f in _BOUNDS], 1).astype(np.int64)
    if column.dtype.kind == "f":
        bad |= safe * factor > float(_MAX_NS - 1024)
        ns = np.rint(np.where(bad, 0.0, safe * factor))
        coarse = factor >= 1_000_000
        ns = np.where(coarse, np.rint(ns / 1000).astype(np.int64) * 1000, ns.astype(np.int64))
    else:
        bad |= safe > _MAX_NS // factor
        ns = np.where(bad, 0, safe).astype(np.int64) * factor
    return np.where(bad, -1, ns)


def format_ns(ns: int) -> str:
    """Nanoseconds → RFC 3339 UTC with milliseconds."""
    return datetime.fromtimestamp(ns / NS, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
