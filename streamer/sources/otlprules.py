"""What an OTLP metric means, whether it came as protobuf or JSON.

- gauge: channel `value`, a gauge. Sum: channel `value`; cumulative and monotonic counts up, else it is a gauge (a delta sum
  is the increase of its interval already).
- histogram and exponential histogram: channels `count` and `sum`; cumulative counts up. Delta ones also give `min` and `max`
  (those of a cumulative one are of the process's whole life). Buckets are left out.
- summary: a channel a quantile; count and sum, which count up, are the streams NAME_count and NAME_sum.
- A series is told apart by the metric's name, its resource's attributes and its own; the instrumentation scope and what
  describes the software rather than the thing measured (IGNORED) do not count in its name.
- flag NO_RECORDED_VALUE is a gap. Exemplars are left out.

Source: OpenTelemetry metrics data model, "Timeseries Model", "Temporality", "Data point flags".
"""

from collections.abc import Iterator

from streamer.sources.points import Kind

DELTA, CUMULATIVE = 1, 2
NO_RECORDED_VALUE = 1
IGNORED = ("telemetry.", "os.", "process.runtime.", "process.command_args", "process.command_line", "service.version")
CURE_POINT = "See the OTLP metrics protocol: every data point has a value and a time"


def number_kind(is_sum: bool, monotonic: bool, temporality: int) -> Kind:
    """Kind of a gauge's or a sum's series."""
    if not is_sum:
        return "gauge"
    if temporality == CUMULATIVE:
        return "counter" if monotonic else "gauge"
    return "gauge" if temporality == DELTA else "auto"


def histogram_kind(temporality: int) -> Kind:
    """Kind of a histogram's series."""
    return "counter" if temporality == CUMULATIVE else "gauge" if temporality == DELTA else "auto"


def histogram_channels(
    temporality: int, count: float, total: float | None, low: float | None, high: float | None
) -> Iterator[tuple[str, float]]:
    """(channel, value) of a histogram's point; a part that is absent is no channel."""
    yield "count", count
    if total is not None:
        yield "sum", total
    if temporality == DELTA:
        if low is not None:
            yield "min", low
        if high is not None:
            yield "max", high
