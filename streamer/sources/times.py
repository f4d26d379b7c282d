"""Times as people write them in files: which way of writing a column has, and reading it.

Numbers are epoch times by their size, as on `metrics`. Text is ISO 8601 with or without a zone, or a date with day or month
first; which of the two is decided by the column, never by a single cell, and asked for where the column leaves it open.
"""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from streamer.errors import ConfigError, ContractError
from streamer.timestamps import NS, parse_timestamp

ReadTime = Callable[[str], int]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NUMBER = re.compile(r"\d+(?:\.\d+)?$")
_ISO = re.compile(r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?: ?(?:[Zz]|UTC|[+-]\d\d:?\d\d))?)?$")
_PARTED = re.compile(
    r"(\d{1,4})([./-])(\d{1,2})\2(\d{1,4})(?:[ T,]+(\d{1,2}:\d\d(?::\d\d(?:[.,]\d{1,6})?)?)(?: ?([AaPp][Mm]))?)?$"
)
_CLOCK = re.compile(r"\d{1,2}:\d\d(?::\d\d(?:[.,]\d{1,9})?)?$")
_ZONED = re.compile(r"(?:[Zz]|UTC|[+-]\d\d:?\d\d)$")
# Epoch times between 1990 and 2100, in s, ms, µs and ns: a column of other numbers is no time
_EPOCHS = tuple((631_152_000 * 1000**power, 4_102_444_800 * 1000**power) for power in range(4))


def looks_like_time(cell: str) -> bool:
    """Whether a cell is a date in text; numbers are looked at a column at a time (`looks_like_epochs`)."""
    return bool(_ISO.match(cell) or _PARTED.match(cell))


def looks_like_clock(cell: str) -> bool:
    """Whether a cell is a time of day without a date."""
    return bool(_CLOCK.match(cell))


def looks_like_epochs(cells: Sequence[str]) -> bool:
    """Whether all cells are numbers in the range of epoch times of one unit."""
    if not cells or not all(_NUMBER.match(cell) for cell in cells):
        return False
    numbers = [float(cell) for cell in cells]
    return any(low <= min(numbers) and max(numbers) < high for low, high in _EPOCHS)


def zone_of(name: str) -> tzinfo:
    """A time zone by its IANA name, or an offset such as +02:00.

    Raises:
        ConfigError: there is none.
    """
    try:
        if name[:1] in "+-" and name[1:]:
            offset = datetime.fromisoformat(f"2000-01-01T00:00:00{name}").tzinfo
            assert offset is not None
            return offset
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ConfigError(f"--time-zone: no zone {name!r} (such as Europe/Berlin or +02:00): {error}") from None


def reader_of(sample: Sequence[str], zone: str = "", form: str = "") -> tuple[ReadTime, str]:
    """(how to read a column's cells as ns since 1970, what was understood), from a sample of them.

    Args:
        zone: of times that have none; empty means UTC.
        form: strptime's directives, when given.

    Raises:
        ConfigError: the column leaves open what comes first, or is no time.
    """
    place = zone_of(zone) if zone else UTC
    zoned_as = f"read in {zone}" if zone else "without a zone, read as UTC (--time-zone)"
    if form:
        return _Local(lambda text: datetime.strptime(text, form), place), f"by {form}"
    if looks_like_epochs(sample) or (sample and all(_NUMBER.match(cell) for cell in sample)):
        return _epoch, "epoch numbers, unit by size"
    if all(_ISO.match(cell) for cell in sample):
        zoned = all(_ZONED.search(cell, 10) for cell in sample)
        return _Local(_iso, place), "ISO 8601 with its zone" if zoned else f"ISO 8601 {zoned_as}"
    parts = [_PARTED.match(cell) for cell in sample]
    if not sample or not all(parts):
        odd = next((cell for cell, match in zip(sample, parts, strict=True) if not match and not _ISO.match(cell)), "")
        raise ConfigError(
            f"{odd[:40]!r} is no time that is known; say how times are written with --time-format (strptime)"
        )
    order = _order([match for match in parts if match])
    return _Local(lambda text: _parted(text, order), place), f"{order}, {zoned_as}"


def _order(parts: Sequence[re.Match[str]]) -> str:
    if all(len(match[1]) == 4 for match in parts):
        return "year/month/day"
    if any(int(match[1]) > 12 for match in parts):
        return "day/month/year"
    if any(int(match[3]) > 12 for match in parts):
        return "month/day/year"
    if parts[0][2] == ".":  # only countries that write the day first use dots
        return "day/month/year"
    raise ConfigError(
        f"{parts[0][0]!r}: is the day or the month first? Say --time-format '%d/%m/%Y %H:%M' or '%m/%d/%Y %H:%M' (strptime)"
    )


def _epoch(text: str) -> int:
    return parse_timestamp(int(text) if text.isdigit() else float(text))


def _iso(text: str) -> datetime:
    if text.endswith(("UTC", "utc")):
        text = text[:-3].rstrip() + "+00:00"
    return datetime.fromisoformat(text.replace(" +", "+").replace(" -", "-") if " " in text[11:] else text)


def _parted(text: str, order: str) -> datetime:
    match = _PARTED.match(text)
    if match is None:
        raise ValueError(f"{text[:40]!r} is not written as the others are")
    first, second, third = int(match[1]), int(match[3]), int(match[4])
    if order == "year/month/day":
        year, month, day = first, second, third
    else:
        year, (day, month) = third, (first, second) if order == "day/month/year" else (second, first)
    clock = (match[5] or "0:00").replace(",", ".").split(":")
    second_part = float(clock[2]) if len(clock) > 2 else 0.0
    hour = int(clock[0])
    if match[6]:
        hour = hour % 12 + (12 if match[6].lower() == "pm" else 0)
    made = datetime(year + 2000 if year < 100 else year, month, day, hour, int(clock[1]))
    return made + timedelta(seconds=second_part)


class _Local:
    """Reads text as times of a zone, where it names none itself.

    In the hour that occurs twice when summer time ends, a time that does not go on from the one before it is the second one.
    """

    def __init__(self, read: Callable[[str], datetime], zone: tzinfo) -> None:
        self._read = read
        self._zone = zone
        self._before = 0

    def __call__(self, text: str) -> int:
        try:
            made = self._read(text)
        except ValueError as error:
            raise ContractError("timestamp", f"time {text[:40]!r}: {error}") from None
        if made.tzinfo is None:
            made = made.replace(tzinfo=self._zone)
            again = made.replace(fold=1)
            if again.utcoffset() != made.utcoffset() and _ns(made) < self._before <= _ns(again):
                made = again
        ns = _ns(made)
        self._before = ns
        if not 0 <= ns <= 2**62:
            raise ContractError("timestamp", f"time {text[:40]!r} lies outside 1970 to 2116")
        return ns


def _ns(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND * (NS // 1_000_000)
