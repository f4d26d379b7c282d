"""What stands on `metrics`, as models: the reference, and the source of its documentation.

`streamer.windows.decode` checks records by the same rules, on whole columns.
"""

from pydantic import Field, model_validator

from streamer.contracts import MAX_CHANNELS, ChannelName, Contract, Number, StreamName


class MetricPoint(Contract, extra="ignore"):
    """`metrics`: one point. `value` is short for `values: {"value": …}`; null is a known gap, true and false are 1 and 0.
    `timestamp`, `time` and `@timestamp` are read where there is no `ts`. Values that break a rule are refused one by one.

    >>> MetricPoint.model_validate_json('{"stream": "web.cpu", "ts": 1790000000, "value": 0.5}').value
    0.5
    """

    stream: StreamName
    ts: int | float | str | None = Field(
        None, description="number (s, ms, µs or ns by size) or RFC 3339; none: the record's"
    )
    value: Number | bool | None = None
    values: dict[ChannelName, Number | bool | None] | None = Field(None, min_length=1, max_length=MAX_CHANNELS)

    @model_validator(mode="after")
    def _one_of(self) -> "MetricPoint":
        given = self.model_fields_set & {"value", "values"}
        if len(given) != 1:
            raise ValueError("give exactly one of value and values")
        return self


class MetricBatch(Contract, extra="ignore"):
    """`metrics`: many points of one stream, columns in the order of `channels`. Numbers that break a rule are refused one
    by one; a row without a time that can be read, or of another length, as a whole.

    >>> batch = MetricBatch(stream="web.cpu", channels=["user", "system"], points=[[1790000000, 0.5, None]])
    >>> len(batch.points)
    1
    """

    stream: StreamName
    channels: list[ChannelName] = Field(default=["value"], min_length=1, max_length=MAX_CHANNELS)
    points: list[list[int | float | str | bool | None]] = Field(
        min_length=1, description="rows of [ts, one number or null per channel]"
    )
