"""`alerts_per_day` over what a backtest of many streams has found: how well it is kept week by week, and what is left.

PYTHONPATH=. python bench/fleet_budget.py --per-day 2 REPORT.json... [--out FOLDER]

Reports are those of `anomalyllm backtest FOLDER --live --json REPORT.json`; the streams of all of them are one fleet. Each
alert is weighed by its final rank, with the rule that detectors use. `--out` gets the reports without what is held back, for
whoever judges alerts. Seconds.
"""

import argparse
import json
from datetime import datetime
from pathlib import Path
from typing import Any

from detector.incidents.ranking import Weighed, bar_of, rank


def hour_of(alert: dict[str, Any]) -> int:
    """Hour in which it opened, Unix hours."""
    return int(datetime.fromisoformat(alert["opened_at"]).timestamp()) // 3600


def weigh(alert: dict[str, Any], threshold: float) -> Weighed:
    """As a detector does at the incident's end."""
    return Weighed(hour_of(alert), rank(alert["severity"], alert["peak"] - threshold))


def main() -> None:
    """Print a row a week."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", nargs="+", type=Path)
    parser.add_argument("--per-day", type=float, required=True)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    reports = {path: json.loads(path.read_bytes()) for path in asked.reports}
    every = [
        (weigh(alert, series["threshold"]), alert)
        for report in reports.values()
        for series in report["series"]
        for alert in series["alert_list"]
    ]
    every.sort(key=lambda one: (one[1]["opened_at"], one[0]))
    pool, begin = list[Weighed](), every[0][0].hour
    for weighed, alert in every:
        alert["announced"] = weighed.rank >= bar_of(pool, weighed.hour, begin, asked.per_day)
        pool.append(weighed)
    streams = sum(len(report["series"]) for report in reports.values())
    print(
        f"{streams} streams, {asked.per_day:g} alerts a day asked for\n\n| week | found a day | announced a day |\n| --- | ---: | ---: |"
    )
    for week in range((pool[-1].hour - begin) // 168 + 1):
        own = [alert["announced"] for weighed, alert in every if (weighed.hour - begin) // 168 == week]
        print(f"| {week + 1} | {len(own) / 7:.2f} | {sum(own) / 7:.2f} |")
    if asked.out is not None:
        asked.out.mkdir(parents=True, exist_ok=True)
        for path, report in reports.items():
            for series in report["series"]:
                series["alert_list"] = [alert for alert in series["alert_list"] if alert["announced"]]
            (asked.out / path.name).write_text(json.dumps(report))


if __name__ == "__main__":
    main()
