"""What a metric's type means for its series, in the words of Prometheus.

Source: OpenMetrics 1.0; Prometheus documentation, "Metric types".
"""

from collections.abc import Mapping

from streamer.sources.points import Kind

# MetricType of remote write 1 and 2, the same numbers
UNKNOWN, COUNTER, GAUGE, HISTOGRAM, GAUGE_HISTOGRAM, SUMMARY, INFO, STATESET = range(8)
_COUNTING_PARTS = ("_bucket", "_count", "_sum")


def kind_by_name(name: str, labels: Mapping[str, str]) -> Kind:
    """Kind of a series whose type nobody told.

    OpenMetrics demands `_total` of counters, and of histograms buckets with `le` that count; of other names nothing
    is known.
    """
    if name.endswith("_total") or (name.endswith("_bucket") and "le" in labels):
        return "counter"
    return "auto"


def kinds_of_family(family: str, metric_type: int) -> dict[str, Kind]:
    """Names of a family's series and their kinds; empty when the type says nothing."""
    if metric_type == COUNTER:
        # the text format names the family with its suffix, OpenMetrics without
        bare = family.removesuffix("_total")
        return {bare: "counter", f"{bare}_total": "counter"}
    if metric_type == HISTOGRAM:
        return {family + part: "counter" for part in _COUNTING_PARTS}
    if metric_type == SUMMARY:
        return {family: "gauge", f"{family}_count": "counter", f"{family}_sum": "counter"}
    if metric_type in (GAUGE, INFO, STATESET):
        return {family: "gauge"}
    if metric_type == GAUGE_HISTOGRAM:
        return {family + part: "gauge" for part in ("_bucket", "_gcount", "_gsum")}
    return {}


def kind_of_series(name: str, labels: Mapping[str, str], metric_type: int) -> Kind:
    """Kind of a series whose type came with it (remote write 2)."""
    if metric_type == COUNTER:
        return "counter"
    if metric_type in (HISTOGRAM, SUMMARY):
        return "counter" if name.endswith(_COUNTING_PARTS) else "gauge"
    if metric_type in (GAUGE, INFO, STATESET, GAUGE_HISTOGRAM):
        return "gauge"
    return kind_by_name(name, labels)
