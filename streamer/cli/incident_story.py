"""All that is known of one incident, and its picture.

Shapes: S slots, C channels
"""

import time
from dataclasses import replace

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from streamer.cli.alerts import headline
from streamer.cli.running import reached, redis_or_error
from streamer.cli.status import SEVERITY_STYLE, age
from streamer.cli.stream_picture import curves
from streamer.contracts import OVER, AnomalyEvent, Departure, Incident, StreamSettings
from streamer.errors import AnomalyLLMError, ConfigError
from streamer.overview.bands import Look, looker
from streamer.overview.reading import OverviewReader, reading
from streamer.settings import CommandSettings
from streamer.timestamps import NS, parse_timestamp

# Around an incident: as much as it is long, at least so many slots.
MARGIN_SLOTS = 60
_END = {
    "returned": "its values are usual again",
    "baseline": "it is how things are now: the new level is learnt",
    "unseen": "nothing could be judged any more",
    "paused": "the stream was paused",
    "verdict": "a person called it a false alarm",
    "grid": "the stream's grid is another one",
    "deleted": "the stream was deleted",
}


async def story(settings: CommandSettings, wanted: str, since_s: float, with_picture: bool) -> RenderableType:
    """An incident by its id or the beginning of it. Raises ConfigError when there is none, or more than one."""
    wanted = wanted.partition(":")[0]
    async with redis_or_error(settings) as client, reached(settings, client), reading(settings, since_s) as reader:
        await reader.follow("anomalies", "streams", "models")
        found = reader.incidents.only(wanted) if wanted else None
        if found is None:
            raise ConfigError(f"no incident {wanted} since {age(since_s)} ago: --since 90d looks further back")
        events = reader.incidents.story(found)
        newest = events[-1].data
        parts: list[RenderableType] = [
            Text.from_markup(headline(newest)),
            Text(f"  {newest.reason}"),
            Text(),
            _facts(newest),
        ]
        if newest.channels:
            parts += [Text(), _channels(newest)]
        if with_picture:
            parts += await _picture(reader, events[-1])
    parts += [Text(), _revisions(events)]
    if newest.state not in OVER or newest.kind == "anomaly":
        parts.append(
            Text(
                f"\nanomalyllm feedback {newest.stream} {newest.incident_id} false_alarm|true|maintenance", style="dim"
            )
        )
    return Group(*parts)


def _facts(incident: Incident) -> Table:
    made = Table.grid(padding=(0, 2))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    end_ns = _ns(incident.ended_at) if incident.ended_at else time.time_ns()
    lasted = age(max(0.0, (end_ns - _ns(incident.started_at)) / NS))
    until, slots = (
        incident.ended_at or "now",
        f"{incident.slots:,} slots" + ("" if incident.ended_at else " when last told"),
    )
    made.add_row("time", f"{incident.started_at} to {until} · {lasted}, {slots}")
    if incident.end_reason:
        made.add_row("ended", _END[incident.end_reason])
    if incident.kind == "anomaly":
        made.add_row(
            "how rare",
            f"surprise {incident.score:.2f} (p {incident.tail_probability:.1g} a slot), it takes {incident.threshold:.2f} to open",
        )
        view = f"view {incident.view}, windows of {incident.scale} slots, depth {incident.depth}"
        if incident.nearest_prototype is not None:
            view += f", nearest prototype {incident.nearest_prototype}"
        made.add_row("found by", view + (f", {incident.statistic}" if incident.statistic else ""))
        model = incident.model_version or ("the generic prior: no student yet" if incident.warming else "none")
        made.add_row("model", model + (", with the LLM" if incident.teacher_used else ""))
    for name, departure in (("onset", incident.onset), ("extreme", incident.extreme)):
        if departure is not None:
            made.add_row(name, _departure(departure, incident.unit_name))
    if incident.usual:
        made.add_row("band", incident.usual)
    if incident.source_offsets:
        first, last = incident.source_offsets[0], incident.source_offsets[-1]
        made.add_row("records", f"offsets {first} to {last} of partition {incident.source_partition} of metrics")
    if incident.labels or incident.tenant:
        labels = ", ".join(f"{key}={value}" for key, value in incident.labels.items())
        made.add_row("labels", escape(labels + (f" · tenant {incident.tenant}" if incident.tenant else "")))
    made.add_row("id", incident.incident_id)
    return made


def _departure(departure: Departure, unit: str | None) -> str:
    value = "–" if departure.value is None else f"{departure.value:.4g}" + (f" {unit}" if unit else "")
    band = (
        ""
        if departure.low is None or departure.high is None
        else f", {departure.low:.4g} to {departure.high:.4g} is usual"
    )
    reach = f", {departure.reach:.1f} widths of the band outside" if departure.reach else ""
    return escape(f"{departure.channel} {value} at {departure.at}{band}{reach}")


def _channels(incident: Incident) -> Table:
    made = Table(box=None, header_style="bold", pad_edge=False)
    made.add_column("channel", no_wrap=True)
    for name in ("share", "value", "expected", "low", "high"):
        made.add_column(name, justify="right", no_wrap=True)
    for share in incident.channels:
        numbers = (share.value, share.expected, share.low, share.high)
        made.add_row(escape(share.channel), f"{share.share:.0%}", *("–" if n is None else f"{n:.4g}" for n in numbers))
    return made


def _revisions(events: list[AnomalyEvent]) -> Table:
    made = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("revision", "at", "state", "severity", "score"):
        made.add_column(name, no_wrap=True)
    made.add_column("reason")
    for event in events:
        data = event.data
        style = "green" if data.state in OVER else SEVERITY_STYLE[data.severity]
        made.add_row(
            str(data.revision), data.updated_at[:19], f"[{style}]{data.state}[/]", data.severity, f"{data.score:.1f}",
            escape(data.reason),
        )  # fmt: skip
    return made


async def _picture(reader: OverviewReader, event: AnomalyEvent) -> list[RenderableType]:
    data, ask = event.data, looker()
    [row] = await reader.rows([data.stream])
    if ask is None or row.interval_s is None or row.last_point is None:
        return [Text("\nno picture: " + (row.why or "the detector's packages are not installed here"), style="yellow")]
    own = reader.stream_settings.of.get(data.stream, StreamSettings())
    margin = max(MARGIN_SLOTS, data.slots) * row.interval_s
    slots = int((row.last_point - _ns(data.started_at) / NS + margin) / row.interval_s) + 1
    if slots - MARGIN_SLOTS > row.slots:
        return [Text("\nno picture: it lies before the stream's window", style="yellow")]
    record = reader.models.of.get(data.stream)
    try:
        look = await ask(reader.settings, reader.client, data.stream, record, own, min(max(slots, 2), row.slots))
    except AnomalyLLMError as error:
        return [Text(f"\nno picture: {error}", style="yellow")]
    if look is None or look.header.grid_version != data.grid_version:
        return [Text("\nno picture: the stream's grid is another one now", style="yellow")]
    end_ns = _ns(data.ended_at or data.updated_at) + int(margin * NS)
    names = [share.channel for share in data.channels if share.channel in look.header.channels][:2]
    return curves(_until(look, end_ns), own, names or look.header.channels[:1], [data])


def _until(look: Look, end_ns: int) -> Look:
    """Its first slots, up to an instant."""
    header = look.header
    last = min(header.hi, max(look.first + 1, (end_ns - header.phase_ns) // header.interval_ns))
    keep = last - look.first + 1
    return replace(
        look, header=replace(header, hi=last), values_SC=look.values_SC[:keep], low_SC=look.low_SC[:keep],
        expected_SC=look.expected_SC[:keep], high_SC=look.high_SC[:keep], surprise_S=look.surprise_S[:keep],
    )  # fmt: skip


def _ns(at: str) -> int:
    return parse_timestamp(at)
