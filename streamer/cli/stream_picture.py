"""The last hours of a stream in a terminal: values in their band, surprise, incidents.

Shapes: S slots, C channels
"""

import time
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import numpy as np
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from streamer.cli.drawing import LABEL, chart, marks, strip
from streamer.cli.running import out, reached, redis_or_error
from streamer.cli.status import SEVERITY_STYLE, age
from streamer.contracts import OVER, Incident, StreamSettings
from streamer.errors import AnomalyLLMError, ConfigError
from streamer.overview.bands import Look, looker
from streamer.overview.reading import OverviewReader, reading
from streamer.overview.rows import StreamRow, season_of
from streamer.settings import CommandSettings
from streamer.timestamps import NS, format_ns, parse_timestamp
from streamer.windows.header import StreamHeader
from streamer.windows.ring import read_windows

MAX_WIDTH, HEIGHT, MAX_CHANNELS = 100, 10, 4
TOP_SURPRISE = 12.0  # where students' surprises end
SHOWN_INCIDENTS = 8


async def picture(settings: CommandSettings, name: str, last_s: float, wanted: list[str]) -> RenderableType:
    """A stream's picture. Raises ConfigError when there is no such stream or channel, UnavailableError, RefusedError."""
    # An incident that is open may have begun long before what is drawn.
    async with (
        redis_or_error(settings) as client,
        reached(settings, client),
        reading(settings, last_s + 86_400) as reader,
    ):
        await reader.follow("streams", "models", "anomalies")
        [row] = await reader.rows([name])
        if row.state == "unseen" and name not in reader.stream_settings.of:
            raise ConfigError(f"there is no stream {name}: anomalyllm streams list '*{name[:20]}*' looks for it")
        own = reader.stream_settings.of.get(name, StreamSettings())
        look, note = await _look(reader, row, own, last_s)
        incidents = [event.data for event in reader.incidents.newest() if event.data.stream == name]
    parts: list[RenderableType] = [_head(row, own)]
    if note:
        parts.append(Text(note, style="yellow"))
    if look is not None:
        unknown = sorted(set(wanted) - set(look.header.channels))
        if unknown:
            raise ConfigError(f"{name} has no channel {', '.join(unknown)}; it has {', '.join(look.header.channels)}")
        parts += curves(look, own, wanted, incidents)
    parts.append(_incidents(incidents, _zone(own)))
    return Group(*parts)


async def _look(
    reader: OverviewReader, row: StreamRow, own: StreamSettings, last_s: float
) -> tuple[Look | None, str | None]:
    """What there is to draw, and what has to be said of it."""
    if row.interval_s is None or row.last_point is None:
        return None, row.why or "no point has come yet"
    slots = max(2, round(last_s / row.interval_s))
    ask = looker()
    note = "no band: the detector's packages are not installed here (pip install 'anomalyllm[detector]')"
    if ask is not None and row.state not in ("irregular", "waiting"):
        try:
            look = await ask(reader.settings, reader.client, row.name, reader.models.of.get(row.name), own, slots)
            return look, None
        except AnomalyLLMError as error:
            note = f"no band: {error}"
    keys, partitioner = reader.keys, reader.settings.partitioner
    found = await read_windows(reader.client, keys, [row.name], partitioner, slots)
    window = found.get(row.name)
    if window is None:
        return None, row.why
    return _bare(window.header, window.data_SC), row.why if row.state == "irregular" else note


def _bare(header: StreamHeader, values_SC: np.ndarray) -> Look:
    """Values alone."""
    nothing_SC = np.full(values_SC.shape, np.nan)
    return Look(
        header, header.hi - len(values_SC) + 1, values_SC, nothing_SC, nothing_SC, nothing_SC,
        np.full(len(values_SC), np.nan), 0.0, None, None,
    )  # fmt: skip


def _head(row: StreamRow, own: StreamSettings) -> RenderableType:
    made = Table.grid(padding=(0, 2))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    made.add_row(
        row.name, f"{row.state}" + (f": {escape(row.why)}" if row.why else "") + (" · paused" if row.paused else "")
    )
    interval = "interval not known yet" if row.interval_s is None else f"every {row.interval_s:g} s"
    seen = "" if row.last_seen is None else f" · last point {age(max(0.0, time.time() - row.last_seen))} ago"
    made.add_row(
        "", f"{interval} · {len(row.channels)} channels · {row.points:,} points · partition {row.partition}{seen}"
    )
    season = f"{season_of(row.season)} ({row.season})" if row.season else "none yet"
    made.add_row(
        "", f"season {season} · dial {row.dial}" + (f" · score {row.score:.1f}" if row.score is not None else "")
    )
    if row.passed_over is not None:
        at = format_ns(round(row.passed_over * NS))[:16]
        made.add_row("", f"passed over at {at}: it comes at that time, as an incident before did")
    model = f"{row.model} of {row.model_slots:,} slots" if row.model else "none in force"
    made.add_row("", f"model {model}" + (f" · {row.shadow} refused: {escape(row.refused or '')}" if row.shadow else ""))
    if own.labels:
        made.add_row("", escape(", ".join(f"{key}={value}" for key, value in own.labels.items())))
    return made


def curves(look: Look, own: StreamSettings, wanted: list[str], incidents: list[Incident]) -> list[RenderableType]:
    """A curve of each wanted channel (none: the first ones), then incidents, surprise and time."""
    header, width = look.header, min(MAX_WIDTH, max(20, out.width - LABEL - 1))
    marked_S = np.zeros(len(look.values_SC), bool)
    for incident in incidents:
        if incident.state != "retracted":
            ended = incident.ended_at
            last = header.hi if ended is None else header.slot_at(parse_timestamp(ended))
            marked_S[
                max(0, header.slot_at(parse_timestamp(incident.started_at)) - look.first) : max(
                    0, last + 1 - look.first
                )
            ] = True
    names = wanted or header.channels[:MAX_CHANNELS]
    parts: list[RenderableType] = []
    for name in names:
        c = header.channels.index(name)
        unit = f" ({own.unit_name})" if own.unit_name else ""
        parts.append(Text(f"\n{name}{unit}", style="bold"))
        parts += chart(look.values_SC[:, c], look.low_SC[:, c], look.high_SC[:, c], marked_S, width, HEIGHT)
    indent = Text(" " * LABEL)
    parts.append(indent + marks(marked_S, width))
    if np.isfinite(look.surprise_S).any():
        label = Text(f"{'surprise':>{LABEL - 1}} ", style="dim")
        parts.append(label + strip(look.surprise_S, TOP_SURPRISE, width, look.threshold))
    begin, end = (_clock(header.slot_ns(slot), _zone(own)) for slot in (look.first, header.hi))
    shown = min(width, len(look.values_SC))
    parts.append(Text(" " * LABEL + begin + end.rjust(max(shown - len(begin), len(end) + 2)), style="dim"))
    if len(header.channels) > len(names) and not wanted:
        parts.append(Text(f"{len(header.channels) - len(names)} more channels: --channel NAME", style="dim"))
    legend = "█ value (the smallest to the largest of a column), ░ usual, red: incident"
    parts.append(
        Text(
            legend + (f"; surprise up to {TOP_SURPRISE:g}, red from {look.threshold:.1f}" if look.threshold else ""),
            style="dim",
        )
    )
    return parts


def _incidents(incidents: list[Incident], zone: tzinfo) -> RenderableType:
    if not incidents:
        return Text("no incidents in this time", style="green")
    made = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("incident", "severity", "since", "until"):
        made.add_column(name, no_wrap=True)
    made.add_column("reason")
    for incident in incidents[-SHOWN_INCIDENTS:]:
        style = "green" if incident.state in OVER else SEVERITY_STYLE[incident.severity]
        until = incident.ended_at or ("" if incident.state == "retracted" else "open")
        started, ended = (
            _clock(parse_timestamp(at), zone) if at[:1].isdigit() else at for at in (incident.started_at, until)
        )
        made.add_row(
            incident.incident_id[:8], f"[{style}]{incident.severity}[/]", started, ended, escape(incident.reason)
        )
    return made


def _zone(own: StreamSettings) -> tzinfo:
    return ZoneInfo(own.timezone) if own.timezone else UTC


def _clock(at_ns: int, zone: tzinfo) -> str:
    return datetime.fromtimestamp(at_ns / NS, zone).strftime("%m-%d %H:%M:%S")
