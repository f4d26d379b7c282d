"""`anomalyllm status`: how everything stands, on one screen."""

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from streamer.cli.options import with_settings
from streamer.cli.running import out, parse_age, run_until_stopped
from streamer.settings import CommandSettings

if TYPE_CHECKING:
    from streamer.overview.lag import StageLag
    from streamer.overview.reading import Overview
    from streamer.overview.workers import Worker

REFRESH_S = 2.0
ROOMS = ("streamer", "detector", "trainer", "sink")
UNITS = {"streamer": "points/s", "detector": "windows/s", "trainer": "students/s", "sink": "messages/s"}
SEVERITY_STYLE = {"critical": "bold red", "warning": "yellow", "info": "cyan"}
STATE_STYLE = {"ready": "green", "warming": "cyan", "shadow": "yellow", "unjudged": "yellow", "irregular": "yellow"}
SHOWN_WHY = 3
SHOWN_PARTITIONS = 8


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("status")
    @with_settings(CommandSettings)
    def status(
        settings: CommandSettings,
        watch: Annotated[bool, typer.Option("--watch", help="Go on, every two seconds, until Ctrl-C.")] = False,
        as_json: Annotated[
            bool, typer.Option("--json", envvar="ANOMALYLLM_STATUS_JSON", help="One JSON object a reading.")
        ] = False,
        since: Annotated[str, typer.Option(help="Dead letters since then: an age such as 15m, 24h or 7d.")] = "24h",
    ) -> None:
        """Show how everything stands: servers, workers, lags, streams, incidents, dead letters, models."""
        well = run_until_stopped(_status(settings, watch, as_json, parse_age(since)))
        if well is False:
            raise typer.Exit(1)


async def _status(settings: CommandSettings, watch: bool, as_json: bool, since_s: float) -> bool:
    import orjson

    from streamer.overview.reading import reading

    async with reading(settings, since_s, settings.timeout) as reader:
        if as_json:
            while True:
                read = await reader.read()
                typer.echo(orjson.dumps(read).decode())
                if not watch:
                    return read.answers
                await asyncio.sleep(REFRESH_S)
        read = await reader.read()
        if not watch:
            out.print(render(read))
            return read.answers
        with Live(render(read), console=out, auto_refresh=False, screen=out.is_terminal) as screen:
            while True:
                await asyncio.sleep(REFRESH_S)
                screen.update(render(await reader.read()), refresh=True)


def render(read: "Overview") -> RenderableType:
    """One screen: at most forty lines of 100 columns, however many streams there are."""
    parts: list[RenderableType] = [*(Text(f"! {trouble}", style="bold red") for trouble in read.troubles)]
    if read.missing_topics:
        names = ", ".join(read.missing_topics)
        parts.append(Text(f"! missing topics: {names}: anomalyllm topics provision", style="bold red"))
    parts += [_servers(read), Text(), _stages(read), Text(), _streams(read), Text(), _rest(read)]
    return Group(*parts)


def _servers(read: "Overview") -> RenderableType:
    made = _pairs()
    brokers = ", ".join(f"{b.host}:{b.port}" for b in read.brokers) or "does not answer"
    made.add_row("Kafka", escape(f"{brokers}" + (f" · cluster {read.cluster_id}" if read.cluster_id else "")))
    facts = read.redis_facts
    if facts is None:
        state = f"{read.redis} does not answer"
    else:
        limit = f" of {_bytes(facts.max_bytes)}" if facts.max_bytes else ""
        state = f"{read.redis.removeprefix('Redis at ')} · {facts.version} · {_bytes(facts.used_bytes)}{limit} · up {age(facts.up_s)}"
    made.add_row("Redis", escape(state))
    return made


def _stages(read: "Overview") -> RenderableType:
    made = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("stage", "workers"):
        made.add_column(name, no_wrap=True)
    for name in ("behind", "by", "does"):
        made.add_column(name, justify="right", no_wrap=True)
    made.add_column("partitions without reader")
    lags = {lag.stage: lag for lag in read.lags}
    for stage in [*ROOMS[:3], *(name for name in lags if name not in ROOMS)]:
        lag = lags.get(stage)
        workers = _workers_of(read.workers, stage, lag)
        gone = read.unread.get(stage, [])
        made.add_row(
            stage,
            Text(str(len(workers)), style="" if workers else "bold red"),
            "–" if lag is None else f"{lag.records:,}" + (" ?" if lag.unknown else ""),
            "–" if lag is None else age(lag.seconds),
            f"{sum(w.per_s for w in workers):,.1f} {UNITS[stage if stage in ROOMS else 'sink']}",
            Text(_some(gone), style="bold red") if gone else Text("none", style="green"),
        )
    return made


def _workers_of(workers: "list[Worker]", stage: str, lag: "StageLag | None") -> "list[Worker]":
    if stage in ROOMS:
        return [worker for worker in workers if worker.room == stage]
    return [worker for worker in workers if worker.room == "sink" and lag is not None and worker.group == lag.group]


def _streams(read: "Overview") -> RenderableType:
    made, found = _pairs(), read.streams
    if found is None:
        made.add_row("streams", "not counted")
        return made
    states = [f"[{STATE_STYLE.get(state, 'dim')}]{state} {count:,}[/]" for state, count in found.by_state.items()]
    made.add_row(
        "streams", f"{found.total:,}  " + " · ".join(states) + (f" · paused {found.paused:,}" if found.paused else "")
    )
    for state, reasons in found.why.items():
        for reason, count in list(reasons.items())[:SHOWN_WHY]:
            made.add_row("", f"[dim]{state}: {count:,} × {escape(reason)}[/]")
        if len(reasons) > SHOWN_WHY:
            made.add_row("", f"[dim]{state}: … and {len(reasons) - SHOWN_WHY} other reasons[/]")
    severities = [f"[{SEVERITY_STYLE[name]}]{name} {count:,}[/]" for name, count in found.open_by_severity.items()]
    held = sum(worker.counts.get("held_back", 0) for worker in read.workers)
    made.add_row(
        "open incidents",
        (" · ".join(severities) or "[green]none[/]")
        + (f" [dim]· held back by alerts_per_day since the start: {held:,.0f}[/]" if held else ""),
    )
    return made


def _rest(read: "Overview") -> RenderableType:
    made = _pairs()
    since = "" if read.dead_since is None else f" [dim]since {_clock(read.dead_since)}[/]"
    letters = " · ".join(f"{escape(reason)} {count:,}" for reason, count in read.dead_letters.items())
    made.add_row("dead letters", (f"[yellow]{letters}[/]" if letters else "[green]none[/]") + since)
    for place, model in enumerate(read.models):
        what = f"{model.version} in force ({model.slots:,} slots)" if model.version else "none in force"
        if model.shadow:
            what += f", [yellow]{model.shadow} refused: {escape(model.refused or 'no reason given')}[/]"
        made.add_row(
            "" if place else "newest models",
            f"[dim]{escape(model.announced_at[:19])}[/] {escape(model.stream)}: {what}",
        )
    if not read.models:
        made.add_row("newest models", "none yet")
    return made


def _pairs() -> Table:
    made = Table.grid(padding=(0, 2))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    return made


def _some(partitions: list[int]) -> str:
    more = f", … {len(partitions)} in all" if len(partitions) > SHOWN_PARTITIONS else ""
    return ", ".join(map(str, partitions[:SHOWN_PARTITIONS])) + more


def age(seconds: float) -> str:
    """Seconds as people say them.

    >>> age(0.25), age(75), age(1464), age(7300), age(200_000)
    ('0.2 s', '75 s', '24 min', '2.0 h', '2.3 d')
    """
    for size, unit in ((86_400, "d"), (3_600, "h")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    if seconds >= 120:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def _bytes(count: int) -> str:
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{count / 2**20:.1f} MB"


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%MZ")
