"""Quiet hours by the clock of their zone, over midnight, weekends and the change of the clock."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from streamer.sinks.quiet import QuietHours

BERLIN = ZoneInfo("Europe/Berlin")


def hours(start: str, to: str, **fields: Any) -> QuietHours:
    return QuietHours.model_validate({"from": start, "to": to, "zone": "Europe/Berlin", **fields})


def until(quiet: QuietHours, moment: str) -> str | None:
    end = quiet.until(datetime.fromisoformat(moment).replace(tzinfo=BERLIN).timestamp())
    return None if end is None else datetime.fromtimestamp(end, BERLIN).isoformat(timespec="minutes")[:16]


@pytest.mark.parametrize(
    ("moment", "end"),
    [
        ("2026-01-07T21:59", None),
        ("2026-01-07T22:00", "2026-01-08T07:00"),
        ("2026-01-08T00:00", "2026-01-08T07:00"),
        ("2026-01-08T06:59", "2026-01-08T07:00"),
        ("2026-01-08T07:00", None),
        ("2026-03-29T01:30", "2026-03-29T07:00"),  # the clock is set forward
        ("2026-10-25T02:30", "2026-10-25T07:00"),  # and back
    ],
)
def test_over_midnight(moment: str, end: str | None) -> None:
    assert until(hours("22:00", "07:00"), moment) == end


def test_within_a_day() -> None:
    quiet = hours("12:00", "13:00")
    assert until(quiet, "2026-01-07T12:30") == "2026-01-07T13:00"
    assert until(quiet, "2026-01-07T13:30") is None


def test_days_are_those_on_which_they_begin() -> None:
    quiet = hours("22:00", "07:00", days=["fri"])
    assert until(quiet, "2026-01-09T23:00") == "2026-01-10T07:00"  # Friday
    assert until(quiet, "2026-01-10T03:00") == "2026-01-10T07:00"  # the night to Saturday
    assert until(quiet, "2026-01-10T23:00") is None


def test_a_whole_day() -> None:
    quiet = hours("00:00", "00:00", days=["sun"])
    assert until(quiet, "2026-01-11T00:00") == "2026-01-12T00:00"
    assert until(quiet, "2026-01-10T23:59") is None
    assert until(quiet, "2026-01-12T00:00") is None
