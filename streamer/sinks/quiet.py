"""Quiet hours: when a sink tells critical incidents only."""

from datetime import datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, model_validator

from streamer.sinks.values import Clock, Zone

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class QuietHours(BaseModel):
    """From one time of day to another, over midnight where `to` is not later; by the clock of a time zone."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, populate_by_name=True)

    start: Clock = Field(alias="from")
    to: Clock
    days: list[Day] = Field(list(DAYS), min_length=1, description="days on which they begin")
    zone: Zone = ZoneInfo("UTC")

    @model_validator(mode="after")
    def _not_empty(self) -> "QuietHours":
        if self.start == self.to and self.start != time(0):
            raise ValueError('from and to are the same; a whole day is from = "00:00", to = "00:00"')
        return self

    def until(self, now: float) -> float | None:
        """Moment (seconds since 1970) at which the quiet hours end that `now` lies in; None outside.

        The clock of the zone counts: where it is set forward or back, the hours are shorter or longer.
        """
        here = datetime.fromtimestamp(now, self.zone)
        for back in (1, 0):  # those that began yesterday, or today
            day = here.date() - timedelta(days=back)
            if DAYS[day.weekday()] not in self.days:
                continue
            begin = datetime.combine(day, self.start, self.zone)
            last = day if self.to > self.start else day + timedelta(days=1)
            end = datetime.combine(last, self.to, self.zone)
            if begin.timestamp() <= now < end.timestamp():
                return end.timestamp()
        return None
