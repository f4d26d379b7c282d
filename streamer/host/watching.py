"""Alert rules for Prometheus and a Grafana dashboard, out of the metrics' names: `python -m streamer.host.watching deploy`."""

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

RULES = Path("prometheus") / "rules.yaml"
DASHBOARD = Path("grafana") / "dashboard.json"
_HEAD = "# Generated (`python -m streamer.host.watching deploy`): change streamer/host/watching.py instead.\n"
_DOCS = "docs/operations.md"
DAY = "86400"


class Alert(NamedTuple):
    """One rule. `lasts`: how long its expression must hold."""

    name: str
    expression: str
    lasts: str
    severity: str
    summary: str
    cure: str


ALERTS = (
    Alert(
        "AnomalyLLMNoReader",
        "sum by (topic, group) (anomalyllm_partitions_owned) < max by (topic, group) (anomalyllm_partitions)",
        "2m", "critical", "Partitions of {{ $labels.topic }} have no reader in group {{ $labels.group }}.",
        "Start another worker of this kind, or see why it does not get its partitions: anomalyllm status.",
    ),
    *(
        Alert(
            f"AnomalyLLMNo{room.title()}", f'absent(anomalyllm_ready{{room="{room}"}})', "2m", "critical",
            f"No {room} is seen by Prometheus.",
            f"Start one (anomalyllm {room}), or let Prometheus reach its --metrics-port.",
        )
        for room in ("streamer", "detector", "trainer")
    ),
    Alert(
        "AnomalyLLMNotReady", "max by (room) (anomalyllm_ready) == 0", "5m", "critical",
        "No {{ $labels.room }} is at work.", "/readyz of the worker says what it waits for.",
    ),
    Alert(
        "AnomalyLLMLag", 'max by (topic, group) (anomalyllm_lag_seconds{group!~".*trainer"}) > 30', "5m", "warning",
        "{{ $labels.group }} is {{ $value | humanizeDuration }} behind in {{ $labels.topic }}.",
        "Add workers, up to the number of partitions; see docs/speed.md for what one core takes.",
    ),
    Alert(
        "AnomalyLLMTrainingLag", 'max by (topic) (anomalyllm_lag_seconds{group=~".*trainer"}) > 3600', "15m", "warning",
        "Training requests wait for {{ $value | humanizeDuration }}.",
        "Add trainers; until then streams are judged by older students or by the generic prior.",
    ),
    Alert(
        "AnomalyLLMOverload",
        "max by (instance) (rate(process_cpu_seconds_total[5m])) > 0.9 and on (instance) "
        "max by (instance) (anomalyllm_lag_seconds) > 10",
        "10m", "warning", "{{ $labels.instance }} uses its core fully and falls behind.",
        "Add workers, batch points when publishing (docs/speed.md), or take a larger --stride.",
    ),
    Alert(
        "AnomalyLLMJudgesCoarsely", "max by (instance) (anomalyllm_detector_overload_level) > 1", "5m", "warning",
        "{{ $labels.instance }} gets more than it can score, and judges more coarsely.",
        "Add detectors, up to the number of partitions, or take a larger --stride.",
    ),
    Alert(
        "AnomalyLLMBlindPartitions", "sum(anomalyllm_detector_blind_partitions) > 0", "10m", "warning",
        "No silence can be told in {{ $value }} partitions: their messages bear no marks.",
        "Upgrade the streamers; a streamer of an older version writes no marks.",
    ),
    Alert(
        "AnomalyLLMRedisLostData",
        "sum(increase(anomalyllm_streamer_redis_losses_total[15m])) + sum(increase(anomalyllm_detector_redis_losses_total[15m])) > 0",
        "0m", "critical", "Redis has lost data: windows are being rebuilt from Kafka.",
        "See why Redis was emptied or restored; give it persistence and noeviction.",
    ),
    Alert(
        "AnomalyLLMUnjudgedStreams", "sum by (reason) (anomalyllm_detector_unjudged_streams) > 0", "1h", "warning",
        "{{ $value }} streams are not judged: {{ $labels.reason }}.",
        "anomalyllm streams list --state unjudged says which, why, and what to do.",
    ),
    Alert(
        "AnomalyLLMMissingStudents", "sum(anomalyllm_detector_missing_students) > 0", "10m", "warning",
        "{{ $value }} students cannot be read from the artefact store.",
        "Give detectors and trainers the same --store; anomalyllm streams list names the artefact.",
    ),
    Alert(
        "AnomalyLLMStalledLoop",
        'anomalyllm_loop_age_seconds{room!="trainer"} > 60 or anomalyllm_loop_age_seconds{room="trainer"} > 3600',
        "1m", "critical", "The loop of a {{ $labels.room }} has not come round for {{ $value | humanizeDuration }}.",
        "Its log says what it waits for; restart it when it is no server that is away.",
    ),
    Alert(
        "AnomalyLLMDeadLetters", "sum by (topic, reason) (increase(anomalyllm_dead_letters_total[15m])) > 0",
        "0m", "warning", "{{ $value | humanize }} records of {{ $labels.topic }} are dead letters: {{ $labels.reason }}.",
        "Each says in its header `message` what to do: read the topic dead-letters.",
    ),
    Alert(
        "AnomalyLLMOldModels",
        f"max(time() - (anomalyllm_detector_oldest_model_timestamp_seconds > 0)) > 30 * {DAY}",
        "1h", "warning", "A student in force is {{ $value | humanizeDuration }} old.",
        "anomalyllm models list says which; a stream whose new students are refused is shown by models show.",
    ),
    Alert(
        "AnomalyLLMRefusedStudents",
        "sum(increase(anomalyllm_trainer_shadows_total[1d])) > "
        "0.5 * sum(increase(anomalyllm_trainer_students_total[1d])) > 10",
        "1h", "warning", "The gate refuses more than half of the students.",
        "anomalyllm models show NAME says why; streams of which too much is unusual need a wider dial or a larger floor.",
    ),
    Alert(
        "AnomalyLLMFalseAlerts",
        'sum(increase(anomalyllm_verdicts_total{verdict="false_alarm"}[7d])) > '
        "0.5 * (sum(increase(anomalyllm_verdicts_total[7d])) >= 10)",
        "0m", "warning", "More than half of the verdicts of this week say false alarm.",
        "Ask for fewer alerts of these streams: anomalyllm streams set NAME --alerts-per-week, or a floor.",
    ),
    Alert(
        "AnomalyLLMManyIncidents",
        "sum(increase(anomalyllm_detector_incidents_opened_total[1d])) > 1 * sum(anomalyllm_detector_streams) > 100",
        "0m", "warning", "More than one incident a stream and day.",
        "Something shared has changed, or the dial is too wide: anomalyllm alerts --since 1d.",
    ),
    Alert(
        "AnomalyLLMSinkFails", "sum(increase(anomalyllm_sink_failed_total[15m])) > 0", "0m", "critical",
        "A sink's receiver refuses messages.", "The sink's log says why; anomalyllm sink --test NAME tries it.",
    ),
)  # fmt: skip


class Panel(NamedTuple):
    """One picture: expressions with their legends, and the unit of its axis as Grafana names it."""

    title: str
    unit: str
    series: tuple[tuple[str, str], ...]
    text: str = ""


def _quantiles(metric: str) -> tuple[tuple[str, str], ...]:
    return tuple(
        (f"histogram_quantile({q}, sum by (le, room) (rate({metric}_bucket[5m])))", f"{{{{room}}}} p{int(q * 100)}")
        for q in (0.5, 0.99)
    )


ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    ("Is all well", (
        Panel("Workers at work", "short", (("sum by (room) (anomalyllm_ready)", "{{room}}"),)),
        Panel("Partitions without a reader", "short", (
            ("max by (topic) (anomalyllm_partitions) - sum by (topic) (anomalyllm_partitions_owned)", "{{topic}}"),
        )),
        Panel("Behind", "s", (("max by (group) (anomalyllm_lag_seconds)", "{{group}}"),), "Age of the oldest record at work."),
        Panel("Records that wait", "short", (("sum by (group) (anomalyllm_lag_records)", "{{group}}"),)),
    )),
    ("Work", (
        Panel("Points", "cps", (("sum(rate(anomalyllm_streamer_points_total[1m]))", "points"),)),
        Panel("Windows scored", "cps", (
            ("sum(rate(anomalyllm_detector_windows_total[1m]))", "all"),
            ("sum(rate(anomalyllm_detector_teacher_windows_total[1m]))", "seen by the LLM"),
        )),
        Panel("From a record's time to done", "s", _quantiles("anomalyllm_delay_seconds")),
        Panel("A turn of the loop", "s", _quantiles("anomalyllm_turn_seconds")),
    )),
    ("Incidents", (
        Panel("Open", "short", (("sum(anomalyllm_detector_incidents)", "open"),)),
        Panel("Opened an hour", "short", (("sum(increase(anomalyllm_detector_incidents_opened_total[1h]))", "opened"),)),
        Panel("Verdicts a day", "short", (("sum by (verdict) (increase(anomalyllm_verdicts_total[1d]))", "{{verdict}}"),)),
        Panel("Messages of sinks", "cps", (
            ("sum(rate(anomalyllm_sink_messages_total[5m]))", "delivered"),
            ("sum(rate(anomalyllm_sink_failed_total[5m]))", "refused"),
            ("sum(anomalyllm_sink_pending)", "pending"),
        )),
    )),
    ("Streams and models", (
        Panel("Streams by stage", "short", (("sum by (stage) (anomalyllm_detector_streams)", "{{stage}}"),)),
        Panel("Age of models", "s", (
            ("time() - max(anomalyllm_detector_newest_model_timestamp_seconds > 0)", "newest"),
            ("time() - min(anomalyllm_detector_oldest_model_timestamp_seconds > 0)", "oldest"),
        )),
        Panel("Training", "cps", (
            ("sum(rate(anomalyllm_trainer_students_total[5m]))", "students"),
            ("sum(rate(anomalyllm_trainer_updates_total[5m]))", "updates"),
            ("sum(rate(anomalyllm_trainer_shadows_total[5m]))", "refused by the gate"),
            ("sum(rate(anomalyllm_trainer_failed_total[5m]))", "failed"),
        )),
        Panel("Dead letters an hour", "short", (
            ("sum by (topic, reason) (increase(anomalyllm_dead_letters_total[1h]))", "{{topic}}: {{reason}}"),
        )),
    )),
    ("Processes", (
        Panel("Cores used", "short", (
            ("rate(process_cpu_seconds_total[1m]) * on (instance) group_left (room) anomalyllm_build_info", "{{room}} {{instance}}"),
        )),
        Panel("Memory", "bytes", (
            ("process_resident_memory_bytes * on (instance) group_left (room) anomalyllm_build_info", "{{room}} {{instance}}"),
        )),
    )),
)  # fmt: skip


def rules() -> dict[str, Any]:
    """A rule file of Prometheus."""
    made = [
        {
            "alert": alert.name,
            "expr": alert.expression,
            "for": alert.lasts,
            "labels": {"severity": alert.severity},
            "annotations": {"summary": alert.summary, "description": alert.cure, "runbook_url": _DOCS},
        }
        for alert in ALERTS
    ]
    return {"groups": [{"name": "anomalyllm", "rules": made}]}


def dashboard() -> dict[str, Any]:
    """A dashboard of Grafana (schema 39), whose data source is asked for at the import."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS:
        panels.append({"type": "row", "title": title, "id": len(panels) + 1, "gridPos": _at(0, y, 24, 1), "panels": []})
        width = 24 // len(row)
        for place, panel in enumerate(row):
            panels.append(_panel(panel, len(panels) + 1, _at(place * width, y + 1, width, 8)))
        y += 9
    return {
        "uid": "anomalyllm",
        "title": "AnomalyLLM",
        "tags": ["anomalyllm"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {
            "list": [
                {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus", "current": {}}
            ]
        },
        "annotations": {"list": []},
        "panels": panels,
    }


def _panel(panel: Panel, number: int, at: dict[str, int]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${source}"}
    targets = [
        {"refId": chr(65 + place), "expr": expression, "legendFormat": legend, "datasource": source}
        for place, (expression, legend) in enumerate(panel.series)
    ]
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.text,
        "gridPos": at,
        "datasource": source,
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
    }


def _at(x: int, y: int, w: int, h: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": w, "h": h}


def texts() -> dict[Path, str]:
    """Files, relative to the folder deploy, with their content."""
    import yaml

    written = yaml.safe_dump(rules(), sort_keys=False, width=120, allow_unicode=True)
    return {RULES: _HEAD + written, DASHBOARD: json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"}


def main(folder: Path) -> None:
    """Write them."""
    for path, text in texts().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Writes the dashboard and the rules of this version.")
    parser.add_argument("folder", type=Path)
    main(parser.parse_args().folder)
