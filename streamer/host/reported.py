"""What a worker counts of itself, as Prometheus reads it: one table from its counters to documented metrics."""

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from streamer.host.stats import Stats
from streamer.unjudged import REASONS


class Reported(NamedTuple):
    """One metric out of counters of a room."""

    name: str  # without the `_total` that counters get
    kind: Literal["counter", "gauge"]
    text: str
    counts: dict[str, str]  # counter → value of `label`; one entry "" where there is none
    label: str = ""


def _one(name: str, kind: Literal["counter", "gauge"], count: str, text: str) -> Reported:
    return Reported(f"anomalyllm_{name}", kind, text, {count: ""})


_UNJUDGED: dict[str, str] = {
    f"streams_unjudged_{reason}": reason for reason in REASONS if reason != "waiting"
}  # that is the streamer's
_STAGES = {f"streams_{stage}": stage for stage in ("cold", "warming", "ready")}
REPORTED: dict[str, tuple[Reported, ...]] = {
    "streamer": (
        _one("streamer_records", "counter", "records_in", "Records of `metrics` taken in."),
        _one("streamer_points", "counter", "points_in", "Points written to windows."),
        _one("streamer_late_points", "counter", "late", "Points older than their stream's window: dead-lettered."),
        _one("streamer_rehomed_records", "counter", "rehomed", "Records sent on to their stream's partition."),
        _one("streamer_source_records", "counter", "source_records", "Records of other tools' topics taken in."),
        _one("streamer_source_points", "counter", "source_points", "Points made of them."),
        _one("streamer_regridded", "counter", "regridded", "Grid versions begun because points ask for another interval or kind."),
        _one("streamer_streams", "gauge", "streams", "Streams whose windows are in memory."),
        _one("streamer_redis_losses", "counter", "redis_losses", "Times that Redis was found to have lost data."),
        _one("streamer_forgotten_streams", "counter", "forgotten", "Streams past their time to live: deleted everywhere."),
    ),
    "detector": (
        _one("detector_windows", "counter", "windows_scored", "Windows scored: slots judged."),
        _one("detector_teacher_windows", "counter", "teacher_windows", "Windows that the LLM saw."),
        _one("detector_incidents_opened", "counter", "alerts", "Incidents opened."),
        _one("detector_passed_over", "counter", "passed_over", "Incidents passed over: as the one before at their time of day or week."),
        _one("detector_held_back", "counter", "held_back", "Incidents held back at their opening, by alerts_per_day."),
        _one("detector_incidents", "gauge", "open_incidents", "Incidents that are open."),
        Reported("anomalyllm_detector_streams", "gauge", "Streams in memory, by stage of their student.", _STAGES, "stage"),
        _one("detector_streams_with_teacher", "gauge", "streams_with_teacher", "Streams whose windows may reach the LLM."),
        Reported("anomalyllm_detector_unjudged_streams", "gauge", "Streams whose points come and are not judged, and why.", _UNJUDGED, "reason"),
        _one("detector_missing_students", "gauge", "students_missing", "Streams whose student cannot be read from the store."),
        _one("detector_left_memory", "counter", "left_memory", "Streams dropped from memory, silent longest; Redis has them."),
        _one("detector_unknown_changes", "counter", "changes_unknown", "Changes of windows that Redis has never heard of: passed over."),
        _one("detector_blind_partitions", "gauge", "partitions_blind", "Partitions whose messages bear no marks: no silence is told there."),
        _one("detector_overload_level", "gauge", "overload_level", "How coarsely it judges for want of time; 0: all is judged."),
        _one("detector_overloads", "counter", "overloads", "Episodes of overload."),
        _one("detector_redis_losses", "counter", "redis_losses", "Times that Redis was found to have lost data."),
        _one("detector_newest_model_timestamp_seconds", "gauge", "newest_model_at", "When the newest model of an owned stream was fitted, Unix seconds; 0: there is none."),
        _one("detector_oldest_model_timestamp_seconds", "gauge", "oldest_model_at", "The same of the oldest model in force."),
    ),
    "trainer": (
        _one("trainer_students", "counter", "students_trained", "Students fitted."),
        _one("trainer_updates", "counter", "updates", "Prototype updates done."),
        _one("trainer_jobs", "counter", "jobs", "Jobs begun: one a stream and run."),
        _one("trainer_failed", "counter", "failed", "Requests refused or dropped."),
        _one("trainer_shadows", "counter", "shadows", "Students that the gate has refused."),
        _one("trainer_orphans_deleted", "counter", "orphans_deleted", "Artefacts deleted that no model refers to."),
    ),
    "sink": (
        _one("sink_records", "counter", "records_in", "Incident events read."),
        _one("sink_messages", "counter", "messages", "Messages delivered."),
        _one("sink_failed", "counter", "failed", "Messages that a receiver has refused."),
        _one("sink_redis_losses", "counter", "redis_losses", "Times that Redis was found to have lost data."),
        _one("sink_pending", "gauge", "pending", "Incidents with something still to be sent."),
        _one("sink_incidents", "gauge", "open", "Incidents that it holds as open."),
    ),
}  # fmt: skip
OWNED = "anomalyllm_partitions_owned", "Partitions that this worker reads."
PARTITIONS = "anomalyllm_partitions", "Partitions that the workers of this kind have to read together."
LAG = "anomalyllm_lag_records", "Records of a partition that wait to be read."
BEHIND = "anomalyllm_lag_seconds", "Age of the oldest record at work; 0 when nothing waits."
LOOP = "anomalyllm_loop_age_seconds", "Since the worker's loop last came round."
READY = "anomalyllm_ready", "1 when the worker is at work: /readyz."
BUILD = "anomalyllm_build", "Version and room of the worker."
COMMON = (OWNED, PARTITIONS, LAG, BEHIND, LOOP, READY)


class StatsCollector(Collector):
    """Metrics out of one worker's counters at the moment they are asked for. `sinks`: one process may run several."""

    def __init__(self, room: str, partitions: int, stats: Iterable[Stats]) -> None:
        self._room = room
        self._partitions = partitions
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        """All metrics of the room."""
        every = [(dict(stats.counts), dict(stats.facts)) for stats in self._stats]
        for reported in REPORTED[self._room]:
            labels = [reported.label] if reported.label else []
            made: CounterMetricFamily | GaugeMetricFamily
            kind = CounterMetricFamily if reported.kind == "counter" else GaugeMetricFamily
            made = kind(reported.name, reported.text, labels=labels)
            for count, value in reported.counts.items():
                made.add_metric([value] if value else [], sum(counts.get(count, 0.0) for counts, _ in every))
            yield made
        yield from self._common([facts for _, facts in every])

    def _common(self, every: list[dict[str, object]]) -> Iterator[Metric]:
        owned, partitions = (
            GaugeMetricFamily(*OWNED, labels=["topic", "group"]),
            GaugeMetricFamily(*PARTITIONS, labels=["topic", "group"]),
        )
        lag = GaugeMetricFamily(*LAG, labels=["topic", "group", "partition"])
        behind = GaugeMetricFamily(*BEHIND, labels=["topic", "group"])
        for facts in every:
            topic, group = str(facts.get("topic", "")), str(facts.get("group", ""))
            mine, backlog = facts.get("partitions", ()), facts.get("lag", {})
            if not topic or not isinstance(mine, list) or not isinstance(backlog, dict):
                continue
            owned.add_metric([topic, group], len(mine))
            partitions.add_metric([topic, group], self._partitions)
            behind.add_metric([topic, group], float(str(facts.get("lag_s", 0.0))))
            for partition, records in sorted(backlog.items()):
                lag.add_metric([topic, group, str(partition)], records)
        yield from (owned, partitions, lag, behind)


def build_info(version: str, room: str) -> Metric:
    """Who this is."""
    return InfoMetricFamily(*BUILD, value={"version": version, "room": room})
