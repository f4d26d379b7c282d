"""`anomalyllm streams`: list and draw streams, set how one is read and judged, delete one everywhere."""

import time
from dataclasses import asdict
from typing import Annotated, Any

import orjson
import typer
from pydantic import ValidationError
from rich.markup import escape
from rich.table import Table

from streamer.cli.options import WORKER_CONNECTION, with_fields, with_settings
from streamer.cli.running import ask, err, out, parse_age, reached, redis_or_error, run_until_stopped, send_one
from streamer.cli.status import SEVERITY_STYLE, STATE_STYLE, age
from streamer.contracts import StreamSettings
from streamer.errors import ConfigError, ContractError
from streamer.overview.query import SortKey, StreamQuery
from streamer.overview.rows import STATES, State, StreamRow, season_of
from streamer.settings import CommandSettings, CommonSettings

MOST_REASONS = 3  # one for each artefact: the others say the same
_PANEL = "What to set (what is not given keeps its value)"
Name = Annotated[str, typer.Argument(help="Name of the stream.")]
Glob = Annotated[str, typer.Argument(help="Only streams that match this pattern, e.g. 'host.*'.")]
Labels = Annotated[list[str] | None, typer.Option("--label", help="Only with this label, key=value; repeatable.")]
States = Annotated[list[str] | None, typer.Option("--state", help="Only in this state; repeatable.")]
PAGE = 50
_WITH_WHY = ("unjudged", "irregular", "shadow")  # states that somebody can do something about
WIDE = 300  # columns
Replace = Annotated[bool, typer.Option("--replace", help="Start from the defaults instead of the present settings.")]
AsJson = Annotated[bool, typer.Option("--json", envvar="ANOMALYLLM_STREAMS_LIST_JSON", help="One JSON object a line.")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    streams = typer.Typer(help="List, draw, set and delete streams.", no_args_is_help=True)
    app.add_typer(streams, name="streams")

    @streams.command("list")
    @with_settings(CommandSettings)
    def show_all(
        settings: CommandSettings,
        glob: Glob = "*",
        label: Labels = None,
        state: States = None,
        alerting: Annotated[bool, typer.Option("--open", help="Only with an open incident.")] = False,
        sort: Annotated[SortKey, typer.Option(help="By what; worst, largest and newest first.")] = "name",
        reverse: Annotated[bool, typer.Option("--reverse", help="The other way round.")] = False,
        limit: Annotated[int | None, typer.Option(min=1, help="So many a page.", show_default="50; JSON: all")] = None,
        page: Annotated[int, typer.Option(min=1, help="Which page.")] = 1,
        as_json: AsJson = False,
    ) -> None:
        """List streams: state, grid, last score, what is open, model and dial, and why one is not judged."""
        most = limit or (None if as_json else PAGE)
        query = StreamQuery(
            glob, parse_labels(label), parse_states(state), alerting, sort, reverse, most,
            offset=0 if most is None else (page - 1) * most,
        )  # fmt: skip
        rows, total, known = run_until_stopped(_list(settings, query)) or ([], 0, {})
        if as_json:
            for row in rows:
                typer.echo(orjson.dumps(as_object(row, known.get(row.name))).decode())
            return
        # What goes to a file or a pipe is cut by nobody.
        out.print(table(rows), width=None if out.is_terminal else WIDE)
        for why in sorted({row.student_missing for row in rows if row.student_missing})[:MOST_REASONS]:
            err.print(f"[yellow]{escape(why)}[/]")
        if len(rows) < total:
            first = query.offset + 1 if rows else 0
            out.print(
                f"[dim]{first:,} to {query.offset + len(rows):,} of {total:,} streams; --page, --limit, --sort[/]"
            )

    @streams.command("show")
    @with_settings(CommandSettings, connection=WORKER_CONNECTION)
    def show_one(
        settings: CommandSettings,
        name: Name,
        last: Annotated[str, typer.Option(help="How far back: an age such as 30m, 6h or 2d.")] = "6h",
        channel: Annotated[list[str] | None, typer.Option(help="Only this channel; repeat for several.")] = None,
    ) -> None:
        """Draw a stream's last hours in its band, with its incidents."""
        from streamer.cli.stream_picture import picture

        out.print(run_until_stopped(picture(settings, name, parse_age(last), channel or [])))

    @streams.command("set")
    @with_settings(CommandSettings)
    @with_fields(StreamSettings, _PANEL)
    def change(settings: CommandSettings, name: Name, fields: dict[str, Any], replace: Replace = False) -> None:
        """Set how a stream is read and judged."""
        made = ask(settings, _set(settings, name, fields, replace))
        out.print(f"{name}: {made.model_dump_json(exclude_defaults=True)}")

    @streams.command("delete")
    @with_settings(CommandSettings)
    def delete(settings: CommandSettings, name: Name) -> None:
        """Delete a stream everywhere: window, state and model."""
        ask(settings, send_one(settings, "streams", name, None))
        out.print(f"{name}: deletion sent; it comes back if somebody goes on publishing it")


async def present_settings(settings: CommonSettings) -> dict[str, StreamSettings]:
    """Settings of all streams, as they are now."""
    from streamer.kafka.tables import TableReader
    from streamer.kafka.topics import provision
    from streamer.parsing import parse

    await provision(settings)
    reader = TableReader(settings, "streams")
    await reader.start()
    try:
        present: dict[str, StreamSettings] = {}
        for record in await reader.catch_up():
            name = (record.key or b"").decode(errors="replace")
            try:
                present[name] = parse(StreamSettings, record.value or b"{}", "stream settings")
            except ContractError:
                continue  # a worker dead-letters it; here the settings before it stay
            if record.value is None:
                del present[name]
        return present
    finally:
        await reader.stop()


async def _set(settings: CommonSettings, name: str, fields: dict[str, Any], replace: bool) -> StreamSettings:
    before = StreamSettings() if replace else (await present_settings(settings)).get(name, StreamSettings())
    try:
        made = before.with_fields(fields)
    except ValidationError as error:
        # A rule between two settings has no place of its own: its message names them.
        places = [".".join(map(str, e["loc"])).replace("_", "-") for e in error.errors()]
        lines = [f"--{at}: {e['msg']}" if at else e["msg"] for at, e in zip(places, error.errors(), strict=True)]
        raise ConfigError("\n".join(lines)) from error
    await send_one(settings, "streams", name, made.model_dump_json(exclude_unset=True).encode())
    return made


async def _list(
    settings: CommandSettings, query: StreamQuery
) -> tuple[list[StreamRow], int, dict[str, StreamSettings]]:
    from streamer.overview.reading import reading

    async with redis_or_error(settings) as client, reached(settings, client), reading(settings) as reader:
        await reader.follow("streams", "models")
        rows, total = await reader.streams(query)
        return rows, total, reader.stream_settings.of


def as_object(row: StreamRow, own: StreamSettings | None) -> dict[str, Any]:
    """A stream for programs."""
    made = {
        "stream": row.name,
        **asdict(row),
        "settings": own.model_dump(mode="json", exclude_unset=True) if own else {},
    }
    del made["name"]
    return made


def table(rows: list[StreamRow]) -> Table:
    """A line a stream: `last` is the age of its newest slot, `model` the slots that its student has seen."""
    made = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("stream", "state"):
        made.add_column(column, no_wrap=True)
    for column in ("every", "season", "last", "score"):
        made.add_column(column, justify="right", no_wrap=True)
    made.add_column("incident", no_wrap=True)
    made.add_column("model", justify="right", no_wrap=True)
    made.add_column("dial", no_wrap=True)
    if any(row.state in _WITH_WHY for row in rows):
        made.add_column("why", overflow="fold")
    for row in rows:
        worst = row.worst
        style = STATE_STYLE.get(row.state, "dim")
        state = f"[{style}]{row.state}[/]" + (" [dim]paused[/]" if row.paused else "")
        state += " [yellow]student not in reach[/]" if row.student_missing else ""
        opened = min((incident.since_ms for incident in row.open), default=0) / 1000
        made.add_row(
            escape(row.name),
            state,
            "–" if row.interval_s is None else f"{row.interval_s:g} s",
            season_of(row.season),
            "–" if row.last_point is None else age(max(0.0, time.time() - row.last_point)),
            "–" if row.score is None else f"{row.score:.1f}",
            "" if worst is None else f"[{SEVERITY_STYLE[worst]}]{worst}[/] {age(max(0.0, time.time() - opened))}",
            f"{row.model_slots:,}" if row.model else "[yellow]refused[/]" if row.shadow else "–",
            row.dial,
            *([escape(row.why or "")] if row.state in _WITH_WHY else []),
        )
    return made


def parse_states(given: list[str] | None) -> frozenset[State]:
    """States, repeated. Raises ConfigError."""
    known = {str(state): state for state in STATES}
    unknown = sorted(set(given or ()) - set(known))
    if unknown:
        raise ConfigError(f"--state: there is no state {', '.join(unknown)}; there are {', '.join(known)}")
    return frozenset(known[name] for name in given or ())


def parse_labels(given: list[str] | None) -> dict[str, str]:
    """`key=value`, repeated. Raises ConfigError.

    >>> parse_labels(["room=lab"])
    {'room': 'lab'}
    """
    pairs = [text.partition("=") for text in given or ()]
    if not all(key and sign for key, sign, _ in pairs):
        raise ConfigError(f"--label: expected key=value, got {', '.join(given or ())}")
    return {key: value for key, _, value in pairs}
