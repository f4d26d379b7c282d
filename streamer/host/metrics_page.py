"""docs/metrics.md, out of the metrics themselves: `python -m streamer.host.metrics_page > docs/metrics.md`."""

from typing import NamedTuple

from streamer.host import reported
from streamer.host.reported import COMMON, REPORTED
from streamer.metrics import MEASURED

HEAD = """# Metrics and probes

Generated (`python -m streamer.host.metrics_page`). Every worker serves three pages where it has a port (`--metrics-port`, on
`--metrics-host`, by default this host alone; `anomalyllm up` takes 9464 to 9466, or free ones, and says which):

- `/metrics`: for Prometheus. Seconds, records and points, never a label with a stream's name.
- `/livez`: 200 as long as the event loop runs (503 after 60 s without a sign of it: restart the worker).
- `/readyz`: 200 while it works; 503, with the reason, while it starts, ends, or waits for a server that is away.

All names begin with `anomalyllm_`; beside them stand the process's own (`process_cpu_seconds_total`, `process_resident_memory_bytes`, …).
Counts of one worker are since its start. `deploy/prometheus/rules.yaml` and `deploy/grafana/dashboard.json` are made of them
(`python -m streamer.host.watching deploy`).
"""
_ROOMS = {
    "": "Of every worker",
    "streamer": "Streamer",
    "detector": "Detector",
    "trainer": "Trainer",
    "sink": "Sink",
}
_LABELS = {
    reported.OWNED[0]: ("topic", "group"),
    reported.PARTITIONS[0]: ("topic", "group"),
    reported.LAG[0]: ("topic", "group", "partition"),
    reported.BEHIND[0]: ("topic", "group"),
    reported.LOOP[0]: ("room",),
    reported.READY[0]: ("room",),
}


class Listed(NamedTuple):
    """One metric as users know it."""

    room: str  # "": every worker
    name: str  # as in a query; of a histogram its base
    kind: str
    labels: tuple[str, ...]
    text: str


def catalogue() -> list[Listed]:
    """All metrics of ours."""
    listed = []
    for metric in MEASURED:
        [family] = metric.describe()
        kind, name = family.type, family.name
        room = "trainer" if "trainer" in name else "detector" if "verdicts" in name else ""
        labels = tuple(metric._labelnames)
        listed.append(Listed(room, name + "_total" * (kind == "counter"), kind, labels, family.documentation))
    listed += [Listed("", name, "gauge", _LABELS[name], text) for name, text in COMMON]
    listed.append(Listed("", reported.BUILD[0] + "_info", "gauge", ("version", "room"), reported.BUILD[1]))
    for room, metrics in REPORTED.items():
        for made in metrics:
            name = made.name + "_total" * (made.kind == "counter")
            listed.append(Listed(room, name, made.kind, (made.label,) if made.label else (), made.text))
    return listed


def page() -> str:
    """The page, in Markdown."""
    parts = [HEAD]
    for room, title in _ROOMS.items():
        parts += [f"## {title}", "| metric | kind | labels | |", "|---|---|---|---|"]
        for metric in catalogue():
            if metric.room == room:
                labels = ", ".join(f"`{label}`" for label in metric.labels)
                parts.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.text} |")
        parts.append("")
    return "\n".join(parts)


if __name__ == "__main__":
    print(page(), end="")
