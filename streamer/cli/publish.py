"""`anomalyllm publish`: CSV, JSON lines or standard input to the `metrics` topic."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from streamer.cli.options import with_settings
from streamer.cli.running import GIVE_UP_AFTER_S, err, out, run_until_stopped
from streamer.errors import ConfigError
from streamer.settings import CommonSettings

Format = Literal["auto", "csv", "jsonl"]
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("publish")
    @with_settings(CommonSettings)
    def publish(
        settings: CommonSettings,
        files: Annotated[list[str] | None, typer.Argument(help="CSV or JSON lines; '-' or none: stdin.")] = None,
        stream: Annotated[str | None, typer.Option(help="All rows are of this stream.")] = None,
        prefix: Annotated[str | None, typer.Option(help="CSV, a stream a column: prefix of the names.")] = None,
        time_column: Annotated[str | None, typer.Option(help="CSV: name of the time column.")] = None,
        form: Annotated[
            Format,
            typer.Option(
                "--format", envvar="ANOMALYLLM_PUBLISH_FORMAT", help="auto: by the file's name, else its start."
            ),
        ] = "auto",
        history: Annotated[
            Literal["auto", "yes", "no"],
            typer.Option(help="Learn from the points, never alert on them; auto: what is older than an hour."),
        ] = "auto",
    ) -> None:
        """Publish metrics from files or standard input, as batches, with progress."""
        done = run_until_stopped(_publish(settings, files or ["-"], stream, prefix, time_column, form, history))
        if done is None:
            raise typer.Exit(130)


async def _publish(
    settings: CommonSettings,
    files: list[str],
    stream: str | None,
    prefix: str | None,
    time_column: str | None,
    form: Format,
    history: Literal["auto", "yes", "no"],
) -> bool:
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn

    from streamer.cli.reading import RowError, batches, read_csv, read_json_lines
    from streamer.kafka.client import make_producer
    from streamer.kafka.publishing import Batch, publish
    from streamer.kafka.topics import provision

    for file in files:
        if file != "-" and not Path(file).is_file():
            raise ConfigError(f"{file}: no such file")
    await provision(settings, give_up_after_s=GIVE_UP_AFTER_S)
    producer = await make_producer(settings, give_up_after_s=GIVE_UP_AFTER_S)
    points_column = TextColumn("{task.fields[points]:,} points")
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), points_column)
    streams: set[str] = set()
    total = 0
    try:
        with Progress(*columns, console=err, transient=True) as bar:
            for file in files:
                with _opened(file) as source:
                    task = bar.add_task(source.name, total=source.size, points=0)
                    before = total

                    def count(batch: Batch, task: TaskID = task, source: Source = source, before: int = before) -> None:
                        nonlocal total
                        total += len(batch.points)
                        streams.add(batch.stream)
                        bar.update(task, completed=source.position(), points=total - before)

                    if _is_json(source, form):
                        rows = read_json_lines(source.text, source.name, stream=stream)
                    else:
                        start = source.prefix if prefix is None else prefix
                        rows = read_csv(source.text, source.name, stream=stream, time_column=time_column, prefix=start)
                    await publish(producer, settings, batches(rows), history, count)
    except (RowError, UnicodeDecodeError) as error:
        text = f"not UTF-8 text: {error}" if isinstance(error, UnicodeDecodeError) else str(error)
        raise RowError(f"{text} ({total:,} points before it were sent; sending them again does no harm)") from error
    finally:
        await producer.stop()
    out.print(f"published {total:,} points of {len(streams):,} streams to {settings.topic('metrics')}")
    return True


@dataclass(frozen=True)
class Source:
    """An opened input: its text, and how far into its bytes the reading is."""

    name: str
    text: io.TextIOWrapper
    raw: "io.BufferedReader[Any]"
    size: int | None  # bytes; None: unknown, a pipe

    def position(self) -> int:
        """Bytes read so far."""
        return 0 if self.size is None else self.raw.tell()

    @property
    def prefix(self) -> str:
        """What the names of streams begin with when every column is one."""
        return "" if self.size is None else f"{Path(self.name).stem}."


@contextmanager
def _opened(file: str) -> Iterator[Source]:
    if file == "-":
        raw: io.BufferedReader[Any] = io.BufferedReader(sys.stdin.buffer)
        yield Source("stdin", io.TextIOWrapper(raw, encoding="utf-8-sig", newline=""), raw, None)
        return
    with Path(file).open("rb") as raw:
        size = Path(file).stat().st_size
        yield Source(file, io.TextIOWrapper(raw, encoding="utf-8-sig", newline=""), raw, size)


def _is_json(source: Source, form: Format) -> bool:
    if form != "auto":
        return form == "jsonl"
    if source.size is not None:
        return source.name.endswith(JSON_SUFFIXES)
    return source.raw.peek(64).lstrip().startswith(b"{")
