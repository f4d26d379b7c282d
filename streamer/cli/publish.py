"""`anomalyllm publish`: files or standard input to the `metrics` topic."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Literal

import typer

from streamer.cli.options import listed, table_option, with_settings
from streamer.cli.running import answering, err, out, run_until_stopped
from streamer.contracts import StreamSettings
from streamer.errors import ConfigError
from streamer.settings import CommandSettings
from streamer.sources.files import FILE_FORMATS, Understood, understood
from streamer.sources.layout import Hints
from streamer.sources.naming import DEFAULT_TEMPLATE

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamer.kafka.publishing import Batch
    from streamer.sources.announcing import Announcer

_SHOWN_BAD = 10
_SHOWN_POINTS = 5


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("publish")
    @with_settings(CommandSettings)
    def publish(
        settings: CommandSettings,
        files: Annotated[
            list[str] | None, typer.Argument(help="Files, plain or compressed; '-' or none: stdin.")
        ] = None,
        stream: Annotated[str | None, typer.Option(help="All rows are of this stream.")] = None,
        prefix: Annotated[str | None, typer.Option(help="Tables, a stream a column: prefix of the names.")] = None,
        time_column: Annotated[str | None, typer.Option(help="Tables: name of the time column.")] = None,
        time_zone: Annotated[str, table_option("Zone of times without one, as Europe/Berlin.")] = "",
        time_format: Annotated[str, table_option("How times are written (strptime).")] = "",
        stream_column: Annotated[str, table_option("Columns that name the stream, as a,b.")] = "",
        value_column: Annotated[str, table_option("Columns of values, as a,b.")] = "",
        delimiter: Annotated[str | None, table_option("What parts cells of a CSV; none: found out.")] = None,
        name: Annotated[str, typer.Option(help="How a stream is named after labels.")] = DEFAULT_TEMPLATE,
        form: Annotated[
            str,
            typer.Option(
                "--format",
                envvar="ANOMALYLLM_PUBLISH_FORMAT",
                help=f"By the file's start and name, or {', '.join(FILE_FORMATS[1:])}.",
            ),
        ] = "auto",
        history: Annotated[
            Literal["auto", "yes", "no"],
            typer.Option(help="Learn from the points, never alert on them; auto: what is older than an hour."),
        ] = "auto",
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what was understood; send nothing.")] = False,
    ) -> None:
        """Publish metrics from files or standard input, as batches, with progress."""
        hints = Hints(
            form, stream, prefix or "", time_column, time_zone, time_format, listed(stream_column), listed(value_column),
            "\t" if delimiter in ("\\t", "tab") else delimiter, name,
        )  # fmt: skip
        chosen = files or ["-"]
        for file in chosen:
            if file != "-" and not Path(file).is_file():
                raise ConfigError(f"{file}: no such file")
        if dry_run:
            _show(chosen, hints, prefix)
        elif run_until_stopped(_publish(settings, chosen, hints, prefix, history)) is None:
            raise typer.Exit(130)


@dataclass(frozen=True)
class Source:
    """An opened input."""

    name: str
    raw: IO[bytes]
    size: int | None  # bytes; None: unknown, a pipe

    def position(self) -> int:
        """Bytes read so far."""
        if self.size is None:
            return 0
        return self.size if self.raw.closed else self.raw.tell()  # what reads it closes it at its end

    def read(self, hints: Hints, prefix: str | None) -> Understood:
        """What is in it. Raises ConfigError."""
        start = prefix if prefix is not None or self.size is None else f"{Path(self.name).name.split('.')[0]}."
        return understood(self.raw, self.name, replace(hints, prefix=start or ""))


@contextmanager
def _opened(file: str) -> Iterator[Source]:
    if file == "-":
        yield Source("stdin", sys.stdin.buffer, None)
        return
    with Path(file).open("rb", buffering=0) as raw:
        yield Source(file, raw, Path(file).stat().st_size)


def _show(files: list[str], hints: Hints, prefix: str | None) -> None:
    for file in files:
        with _opened(file) as source:
            found = source.read(hints, prefix)
            out.print(f"{source.name}: {'; '.join(found.summary)}", markup=False)
            points, streams = 0, set()
            for batch in found.batches:
                if points < _SHOWN_POINTS:
                    for row in batch.points[: _SHOWN_POINTS - points]:
                        out.print(
                            f"  {batch.stream}  {row[0]}  {dict(zip(batch.channels, row[1:], strict=True))}",
                            markup=False,
                        )
                points += len(batch.points)
                streams.add(batch.stream)
            out.print(f"  {points:,} points of {len(streams):,} streams, {found.refused:,} parts refused")
            _report_bad(found)
            found.stream.close()


def _report_bad(found: Understood) -> None:
    for bad in found.bad[:_SHOWN_BAD]:
        err.print(f"{found.name}, {bad}", markup=False, style="yellow")
    if found.refused > _SHOWN_BAD:
        err.print(f"{found.name}: and {found.refused - _SHOWN_BAD:,} more")


def _settings_for(found: Understood, announcer: "Announcer | None") -> "Callable[[Batch], StreamSettings | None]":
    """Settings to write before a stream's points: labels and kind, where the format has them and nobody has set any."""

    def settings_for(batch: "Batch") -> StreamSettings | None:
        series = found.series.get(batch.stream)
        if announcer is None or series is None:
            return None
        announcer.learn(found.families)
        return next((made for _, made in announcer.new([series])), None)

    return settings_for


async def _publish(
    settings: CommandSettings, files: list[str], hints: Hints, prefix: str | None, history: Literal["auto", "yes", "no"]
) -> bool:
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn

    from streamer.cli.streams import present_settings
    from streamer.kafka.client import make_producer
    from streamer.kafka.publishing import Batch, publish
    from streamer.kafka.topics import provision
    from streamer.sources.announcing import Announcer
    from streamer.sources.reading import RowError

    async with answering(settings):
        await provision(settings)
        producer = await make_producer(settings, request_timeout_s=settings.timeout)
    points_column = TextColumn("{task.fields[points]:,} points")
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), points_column)
    streams: set[str] = set()
    total = refused = 0
    announcer: Announcer | None = None
    try:
        with Progress(*columns, console=err, transient=True) as bar:
            for file in files:
                with _opened(file) as source:
                    found = source.read(hints, prefix)
                    out.print(f"{source.name}: {'; '.join(found.summary)}", markup=False)
                    if found.has_settings and announcer is None:
                        async with answering(settings):
                            announcer = Announcer(await present_settings(settings))
                    task = bar.add_task(source.name, total=source.size, points=0)
                    before = total

                    def count(batch: Batch, task: TaskID = task, source: Source = source, before: int = before) -> None:
                        nonlocal total
                        total += len(batch.points)
                        streams.add(batch.stream)
                        bar.update(task, completed=source.position(), points=total - before)

                    await publish(producer, settings, found.batches, history, count, _settings_for(found, announcer))
                    _report_bad(found)
                    refused += found.refused
                    found.stream.close()
    except RowError as error:
        raise RowError(f"{error} ({total:,} points before it were sent; sending them again does no harm)") from error
    finally:
        await producer.stop()
    out.print(f"published {total:,} points of {len(streams):,} streams to {settings.topic('metrics')}")
    if refused:
        raise RowError(f"{refused:,} rows or parts were refused; all others were sent")
    return True
