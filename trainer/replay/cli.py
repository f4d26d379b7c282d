"""`anomalyllm replay`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from streamer.cli.options import listed, table_option, with_settings
from streamer.cli.running import answering, err, out, parse_since, run_until_stopped
from streamer.contracts import StreamSettings
from streamer.errors import ConfigError, ContractError
from streamer.settings import CommandSettings
from streamer.sources.layout import Hints
from streamer.timestamps import NS, format_ns, parse_timestamp
from trainer.backtest.settings import LEAST, RING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from trainer.replay.recorded import Recording
    from trainer.replay.run import Outcome, Plan

# A week of every hour and a day more: a student that has seen it knows workdays from weekends.
HISTORY_S = 8 * 86_400.0
_UNITS_S = {"m": 60, "h": 3_600, "d": 86_400}
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_FOREVER_NS = 1 << 62


@dataclass(frozen=True)
class Asked:
    """What is to be replayed, as a person says it."""

    files: list[Path]
    begin: str | None
    end: str | None
    stream: str
    history: str
    hints: Hints
    own: StreamSettings


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("replay")
    @with_settings(CommandSettings)
    def replay(
        settings: CommandSettings,
        files: Annotated[list[Path] | None, typer.Argument(help="Files, as `publish` reads them.")] = None,
        begin: Annotated[
            str | None, typer.Option("--from", help="Judge from then on: 2026-01-06, RFC 3339, or an age (3d).")
        ] = None,
        end: Annotated[str | None, typer.Option("--to", help="Judge until then.")] = None,
        stream: Annotated[str, typer.Option(help="Only streams that match this pattern.")] = "*",
        history: Annotated[
            str, typer.Option(help="Learnt from first: 8d, 12h or 30%; auto: 8 days, of a file half at most.")
        ] = "auto",
        kind: Annotated[
            Literal["auto", "gauge", "counter"] | None, typer.Option(metavar="KIND", help="gauge, counter or auto.")
        ] = None,
        interval_s: Annotated[float | None, typer.Option(help="Seconds a slot; default: inferred.")] = None,
        alerts_per_week: Annotated[float | None, typer.Option(help="Dial: false alerts expected of a stream.")] = None,
        capacity: Annotated[int, typer.Option(help="Slots of a window.")] = RING,
        teacher: Annotated[str, typer.Option(help="Frozen LLM, as of the trainer.")] = "none",
        html: Annotated[Path | None, typer.Option(help="Write a report for a browser here, one file.")] = None,
        as_json: Annotated[bool, typer.Option("--json", help="The alerts as CloudEvents, one a line.")] = False,
        keep: Annotated[bool, typer.Option("--keep", help="Leave the replay's topics, keys and models.")] = False,
        time_column: Annotated[str | None, table_option("Name of the time column.")] = None,
        time_zone: Annotated[str, table_option("Zone of times without one, as Europe/Berlin.")] = "",
        time_format: Annotated[str, table_option("How times are written (strptime).")] = "",
        stream_column: Annotated[str, table_option("Columns that name the stream, as a,b.")] = "",
        value_column: Annotated[str, table_option("Columns of values, as a,b.")] = "",
        form: Annotated[str, typer.Option("--format", hidden=True, help="As of publish.")] = "auto",
    ) -> None:
        """See what recorded data would have alerted: through real workers, in topics of their own; nobody is paged.

        FILE: on servers of its own, or on those of --bootstrap. Without: what is in the cluster's metrics.
        """
        own = {"kind": kind, "interval_s": interval_s, "alerts_per_week": alerts_per_week}
        hints = Hints(
            form, None, "", time_column, time_zone, time_format, listed(stream_column), listed(value_column)
        )  # fmt: skip
        asked = Asked(files or [], begin, end, stream, history, hints, _settings(own))
        embedded = bool(files) and "bootstrap" not in settings.model_fields_set
        _check(asked, embedded, keep, capacity)
        workers = {"teacher": teacher, "capacity": str(capacity)}
        outcome = run_until_stopped(_replay(settings, asked, embedded, workers, keep))
        if outcome is None:
            raise typer.Exit(130)
        _print_outcome(outcome, html, as_json, keep)


def _settings(own: Mapping[str, Any]) -> StreamSettings:
    from pydantic import ValidationError

    try:
        return StreamSettings.model_validate({name: value for name, value in own.items() if value is not None})
    except ValidationError as error:
        [first, *_] = error.errors()
        raise ConfigError(f"--{str(first['loc'][0]).replace('_', '-')}: {first['msg']}") from error


def _check(asked: Asked, embedded: bool, keep: bool, capacity: int) -> None:
    if not asked.files and asked.begin is None:
        raise ConfigError("say what to replay: a FILE, or --from (and --to) for what is in the cluster's metrics")
    if keep and embedded:
        raise ConfigError(
            "--keep: servers of its own keep nothing; with --bootstrap and --redis-url there is something to keep"
        )
    for file in asked.files:
        if not file.is_file():
            raise ConfigError(f"{file}: no such file")
    if capacity < LEAST:
        raise ConfigError(f"--capacity must be at least {LEAST}, got {capacity}")
    history_ns(asked.history, 0)
    begin, end = instant("--from", asked.begin, 0), instant("--to", asked.end, _FOREVER_NS)
    if end <= begin:
        raise ConfigError(f"--to {asked.end} does not lie after --from {asked.begin}")


def instant(flag: str, text: str | None, otherwise: int) -> int:
    """A day, an RFC 3339 time, `now` or an age as ns. Raises ConfigError.

    >>> instant("--from", "2026-01-06", 0), instant("--to", None, 7)
    (1767657600000000000, 7)
    """
    if text is None:
        return otherwise
    try:
        if _DAY.fullmatch(text):
            return parse_timestamp(f"{text}T00:00:00Z")
        return round(parse_since(text).timestamp() * 1000) * 1_000_000
    except (ConfigError, ContractError):
        raise ConfigError(
            f"{flag}: expected a day (2026-01-06), a time with its zone (2026-01-06T08:00:00Z) or an age such as 3d, got {text!r}"
        ) from None


def history_ns(text: str, span_ns: int) -> int:
    """How much is learnt from, of so much. Raises ConfigError.

    >>> history_ns("25%", 400), history_ns("2h", 0) // NS, history_ns("auto", 20 * 86_400 * NS) // NS // 86_400
    (100, 7200, 8)
    """
    if text == "auto":
        return min(round(HISTORY_S * NS), span_ns // 2)
    number, unit = text[:-1], text[-1:]
    if number.isdigit() and unit == "%" and int(number) < 100:
        return span_ns * int(number) // 100
    if number.isdigit() and unit in _UNITS_S:
        return int(number) * _UNITS_S[unit] * NS
    raise ConfigError(f"--history: expected auto, a share such as 30% or a time such as 8d or 12h, got {text!r}")


class _Bar:
    """Progress on standard error."""

    def __init__(self, bar: "Progress") -> None:
        self._bar = bar
        self._task: TaskID = bar.add_task("", total=1.0, told="")

    def phase(self, text: str) -> None:
        """What is being done."""
        self._bar.update(self._task, description=text, told="")

    def reached(self, share: float, text: str) -> None:
        """How far it is."""
        self._bar.update(self._task, completed=share, told=text)


async def _replay(
    settings: CommandSettings, asked: Asked, embedded: bool, workers: dict[str, str], keep: bool
) -> "Outcome":
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from trainer.replay.run import Where, replay

    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"), TimeElapsedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=err, transient=True) as bar:
        show = _Bar(bar)
        show.phase("reading")
        plan = await _of_files(asked) if asked.files else await _of_cluster(settings, asked, show)
        before = format_ns(plan.recording.span()[0])[:16], format_ns(plan.judged_from_ns)[:16]
        err.print(
            f"{plan.recording.points:,} points of {len(plan.recording.parts):,} streams: learning from {before[0]} to {before[1]}, "
            f"judging until {format_ns(plan.end_ns)[:16]} (UTC)"
        )
        return await replay(Where(settings, embedded, workers, keep), plan, show)


async def _of_files(asked: Asked) -> "Plan":
    from trainer.replay.recorded import read_files

    end_ns = instant("--to", asked.end, _FOREVER_NS)
    recording = read_files(asked.files, asked.hints, asked.stream, end_ns, lambda text: err.print(text, markup=False))
    _something(recording, asked)
    first, last = recording.span()
    judged_ns = instant("--from", asked.begin, first + history_ns(asked.history, last - first))
    if asked.begin is not None and asked.history != "auto":
        recording = recording.since(judged_ns - history_ns(asked.history, judged_ns - first))
        _something(recording, asked)
    return _plan(recording, {}, asked, judged_ns, min(end_ns, recording.span()[1] + 1))


async def _of_cluster(settings: CommandSettings, asked: Asked, show: _Bar) -> "Plan":
    import time

    from streamer.cli.streams import present_settings
    from streamer.kafka.client import make_consumer
    from streamer.kafka.topics import partitions_of
    from trainer.replay.stretch import read_stretch, settings_of

    begin_ns, end_ns = instant("--from", asked.begin, 0), instant("--to", asked.end, time.time_ns())
    before_ns = round(HISTORY_S * NS) if asked.history == "auto" else history_ns(asked.history, end_ns - begin_ns)
    async with answering(settings):
        consumer = await make_consumer(settings, None, give_up_after_s=settings.timeout)
        try:  # before anything is made that is not there
            await partitions_of(consumer, settings.topic("metrics"), settings.topic("streams"))
        finally:
            await consumer.stop()
        own = await present_settings(settings)
    recording, bad = await read_stretch(
        settings, own, asked.stream, begin_ns - before_ns, end_ns, lambda read: show.reached(0.0, f"{read:,} records")
    )
    if bad:
        err.print(f"{bad:,} records break a rule and are left out, as a streamer does", style="yellow")
    _something(recording, asked)
    if recording.span()[0] >= begin_ns:
        err.print(
            f"nothing lies before --from in {settings.topic('metrics')}: a general rule judges until there is a history",
            style="yellow",
        )
    return _plan(recording, settings_of(own, asked.stream), asked, begin_ns, min(end_ns, recording.span()[1] + 1))


def _plan(
    recording: "Recording", own: Mapping[str, StreamSettings], asked: Asked, judged_ns: int, end_ns: int
) -> "Plan":
    from trainer.replay.run import Plan

    if recording.next_after(judged_ns) is None:
        raise ConfigError(f"nothing lies after {format_ns(judged_ns)}: there is nothing to judge (--from, --history)")
    given = asked.own.model_dump(exclude_unset=True)
    if given:
        own = {name: own.get(name, StreamSettings()).with_fields(given) for name in recording.parts}
    return Plan(recording, own, judged_ns, end_ns)


def _something(recording: "Recording", asked: Asked) -> None:
    if not recording.parts:
        where = ", ".join(map(str, asked.files)) or f"metrics between {asked.begin} and {asked.end or 'now'}"
        raise ConfigError(f"no points of streams like {asked.stream} in {where}")


def _print_outcome(outcome: "Outcome", html: Path | None, as_json: bool, keep: bool) -> None:
    from trainer.replay.outcome_text import report, shown
    from trainer.report.page import write

    if as_json:
        for event in outcome.events:
            typer.echo(event.model_dump_json())
    else:
        for part in shown(outcome):
            out.print(part)
    if html is not None:
        write(report(outcome), html)
        err.print(f"report: {html}", markup=False)
    if keep:
        err.print(
            f"kept: topics {outcome.prefix}*, keys {outcome.namespace}:*; "
            f"anomalyllm streams list --topic-prefix {outcome.prefix} --namespace {outcome.namespace}",
            markup=False,
        )
