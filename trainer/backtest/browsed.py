"""A backtest for a browser: what a row keeps of a replay for it, and the report of all rows.

Shapes: K slots of the test part, S slots of the series, C channels
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from trainer.backtest.plots import LEFT_OF_TEST, shown_channels
from trainer.backtest.replay import Replayed
from trainer.backtest.report import Row, span
from trainer.backtest.series import Series
from trainer.backtest.vus import ranges
from trainer.report.drawing import Drawing, Span, draw
from trainer.report.learnt import learnt_of
from trainer.report.page import Alert, Report, Stream, write


def drawn(series: Series, made: Replayed, product: bool = True) -> dict[str, Any]:
    """Picture and what was learnt (of the product's students), in JSON types; the end of the training part is drawn, too."""
    assert made.bands is not None
    count, channels = len(made.surprise_K), len(series.channels)
    before = min(series.train_end, int(LEFT_OF_TEST * count))
    first = series.train_end - before
    no_band_SC, no_surprise_S = np.full((before, channels), np.nan), np.full(before, np.nan)
    spans = [
        Span(alert.onset + before, alert.end + before, alert.severity, f"{alert.severity}: {alert.reason}")
        for alert in made.alerts
    ]
    if series.labels_S is not None:
        spans += [Span(int(b), int(e), None, "label") for b, e in zip(*ranges(series.labels_S[first:]), strict=True)]
    picture = draw(
        series.channels, series.data_SC[first:], np.concatenate([no_band_SC, made.bands.low_KC]),
        np.concatenate([no_band_SC, made.bands.high_KC]), np.concatenate([no_surprise_S, made.surprise_K]),
        threshold=made.threshold, interval_ns=series.interval_ns, judged_from=before, spans=spans,
        start_ns=(series.first_slot + first) * series.interval_ns + series.phase_ns if series.timed else None,
        shown=shown_channels(made, channels),
    )  # fmt: skip
    learnt = learnt_of(made.student, series.interval_ns, made.threshold, made.gate, series.scale) if product else []
    return {"picture": asdict(picture), "learnt": learnt}


def write_report(file: Path, rows: Sequence[Row], summary: dict[str, Any]) -> None:
    """One HTML file. Raises OSError when it cannot be written."""
    good = [row for row in rows if "error" not in row]
    streams = [
        Stream(
            row["name"],
            [Alert(span(a), a["severity"], a["reason"], "new baseline" if a["baseline"] else "") for a in row["alert_list"]],
            Drawing.from_json(row["drawn"]["picture"]),
            [(name, value) for name, value in row["drawn"]["learnt"]],
            _figures(row),
        )
        for row in good
    ]  # fmt: skip
    alerts = summary["alerts"]
    lead = f"{alerts} alert{'' if alerts == 1 else 's'} on {len(good)} series, {summary['slots']:,} slots judged. Times are UTC."
    errors = [f"{row['name']}: {row['error']}" for row in rows if "error" in row]
    write(Report("AnomalyLLM backtest", lead, _summary(summary), streams, errors), file)


def _summary(summary: dict[str, Any]) -> list[tuple[str, str]]:
    false = summary["false_alerts_per_10k"] or 0.0
    facts = [("alerts that no label explains", f"{summary['false_alerts']}, {false:.2f} in 10 000 slots")]
    if not summary["events"]:
        facts = [("alerts", f"{summary['alerts']}, {false:.2f} in 10 000 slots")]
    else:
        facts += [
            ("events found", f"{summary['hits']} of {summary['events']} labelled events"),
            ("precision, recall", f"{summary['event_precision']:.2f}, {summary['event_recall']:.2f}"),
        ]
        if summary["delay_points"] is not None:
            facts.append(("delay", f"{summary['delay_points']:g} slots, median"))
    known = summary["series"] - summary["failed"]
    return [*facts, ("students that passed the gate", f"{summary['gate_passed']} of {known}")]


def _figures(row: Row) -> str:
    told = f"{row['slots']:,} slots judged, {row['history']:,} learnt from before"
    more = f"; {row['fits']} fits, {row['updates']} updates on the way" if row["fits"] or row["updates"] else ""
    found = f"; {row['hits']} of {row['events']} labelled events found" if row["events"] else ""
    return f"{told}{more}{found}"
