"""Rows of a backtest → summary, terminal tables, JSON."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

import orjson
from rich.box import SIMPLE
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from streamer.cli.status import SEVERITY_STYLE
from trainer.backtest.metrics import LATENCIES, precision_recall
from trainer.fit.run import PASSED
from trainer.report import page

Row = dict[str, Any]
# Beyond this many series only the summary is shown, and the series with an error.
MAX_SHOWN = 40
MAX_ALERTS = 200  # printed
MAX_NAME, MIN_NAME = 24, 14  # characters: the table then fits 80 columns
_AREAS = ("found", "vus_pr", "vus_roc", "auc_pr", "auc_roc")


def summarise(rows: Sequence[Row], latency: int) -> dict[str, Any]:
    """Means over the series that have a figure; events, alerts and delays pooled over all series."""
    good = [row for row in rows if "error" not in row]
    by_latency = {
        f"latency_{at}": {name: _mean([row[f"latency_{at}"][name] for row in good]) for name in _AREAS}
        for at in LATENCIES
    }
    # Series without labels have no precision: their alerts count as false alerts a time only.
    labelled = [row for row in good if row["events"]]
    hits, events = sum(row["hits"] for row in labelled), sum(row["events"] for row in labelled)
    false = sum(row["false_alerts"] for row in labelled)
    published = sum(row["alerts"] for row in labelled)
    precision, recall, f1 = precision_recall(published - false, false, hits, events)
    slots = sum(row["slots"] for row in good)
    seconds = sum(row["score_s"] for row in good)
    delays = [delay for row in good for delay in row["delays"]]
    everything = sum(row["false_alerts"] for row in good)
    return {
        "series": len(rows),
        **by_latency[f"latency_{latency}"],
        "event_f1": _rounded(f1),
        "event_precision": _rounded(precision),
        "event_recall": _rounded(recall),
        "false_alerts_per_10k": _rounded(1e4 * everything / slots) if slots else None,
        "delay_points": float(median(delays)) if delays else None,
        "points_per_s": round(slots / seconds) if seconds else None,
        "fit_s": _mean([row["fit_s"] for row in good]),
        "latency": latency,
        "failed": len(rows) - len(good),
        "events": events,
        "hits": hits,
        "alerts": sum(row["alerts"] for row in good),
        "false_alerts": everything,
        "slots": slots,
        "gate_passed": sum(row["gate"] == PASSED for row in good),
        "student_bytes": _mean([row["student_bytes"] for row in good if row["student_bytes"]]),
        **by_latency,
    }


def write_json(path: Path, summary: dict[str, Any], rows: Sequence[Row]) -> None:
    """`{"summary": {…}, "series": [{"name", …}]}`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    series = [{name: value for name, value in row.items() if name != "drawn"} for row in rows]
    path.write_bytes(orjson.dumps({"summary": summary, "series": series}, option=orjson.OPT_INDENT_2))


def alert_lines(rows: Sequence[Row]) -> list[str]:
    """Two lines of rich markup an alert, as `anomalyllm alerts` prints them: from when to when, how bad, where; why."""
    alerts = [(row["name"], alert) for row in rows for alert in row.get("alert_list", ())]
    lines = [
        f"[dim]{span(alert)}[/] [{SEVERITY_STYLE[alert['severity']]}]{alert['severity']:<8}[/] "
        f"[bold]{escape(name)}[/]\n  {escape(alert['reason'])}"
        for name, alert in alerts[:MAX_ALERTS]
    ]
    if len(alerts) > MAX_ALERTS:
        lines.append(f"and {len(alerts) - MAX_ALERTS:,} more alerts: --json FILE or --html FILE has all")
    return lines


def span(alert: dict[str, Any]) -> str:
    """From when to when an alert lasted; without time stamps the slots of the test part."""
    begin, end = alert.get("started_at"), alert.get("ended_at")
    if begin is None or end is None:
        return f"slots {alert['onset']} to {alert['end']}"
    return page.span(begin, end)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _rounded(fmean(known)) if known else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


def tables(rows: Sequence[Row], summary: dict[str, Any]) -> RenderableType:
    """What the terminal shows."""
    parts: list[RenderableType] = []
    if len(rows) <= MAX_SHOWN:
        parts.append(_series_table(rows, summary["latency"]))
    parts += [Text(f"{row['name']}: {row['error']}", style="red") for row in rows if "error" in row]
    labelled = summary["events"] or summary["found"] is not None
    parts.append(_summary_table(summary) if labelled else Text(_unlabelled(summary)))
    return Group(*parts)


def _unlabelled(summary: dict[str, Any]) -> str:
    """Without labels alerts are counted, not judged."""
    passed = f"{summary['gate_passed']} of {summary['series'] - summary['failed']} students pass the gate"
    return (
        f"{summary['alerts']} alerts in {summary['slots']:,} slots that were judged (no labels: no figures); {passed}"
    )


def _series_table(rows: Sequence[Row], latency: int) -> Table:
    table = Table(
        title=f"Values {latency} slots late; alerts at once", title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0)
    )
    table.add_column("series", no_wrap=True, overflow="ellipsis", min_width=MIN_NAME)
    for name in ("found", "VUS-PR", "F1", "hits", "alerts", "false/10k", "delay", "points/s", "fit s"):
        table.add_column(name, justify="right", no_wrap=True, min_width=max(len(name), 4))
    for row in rows:
        if "error" in row:
            continue
        table.add_row(
            _short(row["name"]), _yes(row["found"]), _figure(row["vus_pr"], 2), _figure(row["event_f1"], 2),
            f"{row['hits']}/{row['events']}", str(row["alerts"]), _figure(row["false_alerts_per_10k"], 1),
            _figure(row["delay_points"], 0), _thousands(row["points_per_s"]),
            _figure(row["fit_s"], 2),
        )  # fmt: skip
    return table


def _summary_table(summary: dict[str, Any]) -> Table:
    late, now = summary["latency_8"], summary["latency_0"]
    failed = f", {summary['failed']} failed" if summary["failed"] else ""
    table = Table(title=f"{summary['series']} series{failed}", title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    for name, side in (("figure", "left"), ("8 late", "right"), ("at once", "right"), ("how", "left")):
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    how = {
        "found": ("found (UCR rule)", "one loudest value, placed at the centre of the window that fired, ± 100"),
        "vus_pr": ("VUS-PR", "value at its slot, label buffer up to a period (at most 100); mean over series"),
        "vus_roc": ("VUS-ROC", "the same"),
        "auc_pr": ("AUC-PR", "value at its slot, no buffer; mean over series"),
        "auc_roc": ("AUC-ROC", "the same"),
    }
    for key, (label, text) in how.items():
        table.add_row(label, _figure(late[key]), _figure(now[key]), text)
    table.add_section()
    alerts = f"{summary['alerts']} alerts, {summary['hits']} of {summary['events']} events; pooled, tolerance 10"
    parts = "/".join(_figure(summary[f"event_{name}"]) for name in ("precision", "recall"))
    rate = summary["points_per_s"]
    for label, value, text in (
        ("event F1", _figure(summary["event_f1"]), alerts),
        ("precision/recall", parts, "incidents at the default alert threshold"),
        ("false alerts/10 000", _figure(summary["false_alerts_per_10k"], 2), "slots of all test parts"),
        ("delay, points", _figure(summary["delay_points"], 1), "median, from an event's start to its alert's opening"),
        ("points/s", f"{rate:,}" if rate else "–", "slots of one series at a time, one core"),
        ("fit, s", _figure(summary["fit_s"], 2), "mean a series, CPU"),
        (
            "gate passed",
            f"{summary['gate_passed']}/{summary['series'] - summary['failed']}",
            "else the worker keeps a student a shadow",
        ),
        ("student, bytes", _figure(summary["student_bytes"], 0), "mean artefact of one series"),
    ):
        table.add_row(label, "", value, text)
    return table


def _figure(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _thousands(value: float | None) -> str:
    return "–" if value is None else f"{value / 1000:.0f}k"


def _short(name: str) -> str:
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME // 2]}…{name[-MAX_NAME // 2 + 1 :]}"


def _yes(value: bool | None) -> str:
    return "–" if value is None else "yes" if value else "no"
