"""Summary, tables and JSON."""

import io
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from trainer.backtest.report import summarise, tables, write_json


def _row(name: str, **own: Any) -> dict[str, Any]:
    figures = {"found": True, "vus_pr": 0.5, "vus_roc": 0.9, "auc_pr": 0.4, "auc_roc": 0.8}
    row: dict[str, Any] = {
        "name": name, **figures, "slots": 10_000, "score_s": 0.5, "fit_s": 0.2, "events": 2, "hits": 1, "alerts": 3,
        "false_alerts": 1, "false_alerts_per_10k": 1.0, "delays": [4], "delay_points": 4.0, "event_f1": 0.57,
        "points_per_s": 20_000, "student_bytes": 1000, "gate": "passed", "latency_0": figures, "latency_8": figures,
    }  # fmt: skip
    return row | own


NO_FIGURES = {"found": None, "vus_pr": None, "vus_roc": None, "auc_pr": None, "auc_roc": None}
UNLABELLED = _row(
    "quiet", **NO_FIGURES, latency_0=NO_FIGURES, latency_8=NO_FIGURES, events=0, hits=0, alerts=2, false_alerts=2,
    delays=[], delay_points=None, event_f1=None,
)  # fmt: skip


def test_means_skip_what_makes_no_sense_and_events_are_pooled() -> None:
    other = {**_row("b")["latency_8"], "found": False, "vus_pr": 0.1}
    rows = [_row("a"), _row("b", latency_8=other, delays=[10, 20], hits=2, alerts=2, false_alerts=0), UNLABELLED]
    summary = summarise(rows, 8)
    assert summary["series"] == 3
    assert (summary["found"], summary["vus_pr"]) == (0.5, 0.3)
    assert summary["latency_0"]["vus_pr"] == 0.5
    precision, recall = 4 / 5, 3 / 4  # the unlabelled series has no say in them …
    assert abs(summary["event_f1"] - 2 * precision * recall / (precision + recall)) < 1e-4
    assert summary["false_alerts_per_10k"] == 1.0  # … but its false alerts count: 3 in 30 000 slots
    assert summary["delay_points"] == 10.0
    assert summary["points_per_s"] == 20_000
    assert summary["fit_s"] == 0.2


def test_json_has_the_promised_names_and_nulls(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "report.json"
    write_json(file, summarise([UNLABELLED], 8), [UNLABELLED])
    report = json.loads(file.read_text())
    assert report.keys() == {"summary", "series"}
    promised = (
        "series", "found", "vus_pr", "auc_pr", "event_f1", "false_alerts_per_10k", "delay_points", "points_per_s", "fit_s",
    )  # fmt: skip
    assert list(report["summary"])[:4] == ["series", "found", "vus_pr", "vus_roc"]
    assert set(promised) <= report["summary"].keys()
    assert report["summary"]["found"] is report["summary"]["vus_pr"] is report["summary"]["event_f1"] is None
    assert report["series"][0]["name"] == "quiet"
    assert report["series"][0]["found"] is None


def test_nothing_but_failures_is_a_report_too() -> None:
    summary = summarise([{"name": "a", "error": "unreadable"}], 0)
    assert (summary["failed"], summary["vus_pr"], summary["points_per_s"]) == (1, None, None)


def test_the_terminal_shows_series_latencies_and_errors() -> None:
    rows = [_row("a"), UNLABELLED, {"name": "bad", "error": "unreadable"}]
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(tables(rows, summarise(rows, 8)))
    text = console.export_text()
    for said in ("bad: unreadable", "8 late", "at once", "quiet", "3 series, 1 failed", "centre of the window"):
        assert said in text
    many = [_row(f"s{i}") for i in range(50)]
    console.print(tables(many, summarise(many, 8)))
    assert "s17" not in console.export_text()
