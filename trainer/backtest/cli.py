"""`anomalyllm backtest`."""

from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from streamer.cli.options import MORE_PANEL, reveal, with_settings
from streamer.cli.running import err, out
from streamer.errors import ConfigError
from streamer.host.logs import configure_logs
from trainer.backtest.settings import LEAST, LEFT_OUT, RING, BacktestSettings

SHOWN = ("profile", "teacher", "state_dir", "config")
PAPER = {name: "Paper profile" for name in BacktestSettings.model_fields if name.startswith("paper_")}


def _rare(text: str) -> Any:
    """An option of those who measure: `--help-all` shows it."""
    return typer.Option(help=text, hidden=True, rich_help_panel=MORE_PANEL)


class Command(TyperCommand):
    """Its help has the settings of the paper only where that profile is asked for."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Before `--help` ends it all, look for the profile."""
        if "--profile=paper" in args or ("--profile", "paper") in pairwise(args):
            reveal(self, PAPER)
        return super().parse_args(ctx, args)


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("backtest", cls=Command)
    @with_settings(BacktestSettings, shown=SHOWN, connection=(), leave_out=LEFT_OUT, apart=PAPER)
    def backtest(
        settings: BacktestSettings,
        paths: Annotated[
            list[Path], typer.Argument(help="Each a .csv, a .parquet, or a folder (index.json or tables).")
        ],
        history: Annotated[
            str,
            typer.Option(
                help="Slots to learn from at a time: 'ring' (what live streams keep), 'train' (with --once: all) or a number."
            ),
        ] = "ring",
        capacity: Annotated[int, typer.Option(help="Slots of the ring, as a streamer's --capacity.")] = RING,
        live: Annotated[
            bool, typer.Option("--live/--once", help="Learn on as a live stream does, or one fit on the training part.")
        ] = True,
        fit_share: Annotated[float, _rare("Learn from this last share of the training part only.")] = 1.0,
        latency: Annotated[Literal["0", "8"], _rare("Slots a value waits: 8 is the mean of the next 8 scores.")] = "8",
        train: Annotated[
            float, typer.Option(help="CSV, Parquet: training part, as a share below 1 or in slots.")
        ] = 0.5,
        time_column: Annotated[str | None, typer.Option(help="CSV, Parquet: name of the time column.")] = None,
        label_column: Annotated[str | None, typer.Option(help="CSV, Parquet: name of the label column.")] = None,
        interval_s: Annotated[
            float | None, typer.Option(help="CSV, Parquet: seconds a slot; default: inferred.")
        ] = None,
        kind: Annotated[
            Literal["auto", "gauge", "counter"],
            typer.Option(metavar="KIND", help="CSV, Parquet: gauge, counter or auto."),
        ] = "auto",
        only: Annotated[list[str] | None, typer.Option(help="Names or patterns of series; repeat for several.")] = None,
        jobs: Annotated[int, typer.Option("--jobs", "-j", help="Processes.")] = 1,
        seed: Annotated[int, _rare("Seed of everything random.")] = 0,
        json_file: Annotated[Path | None, typer.Option("--json", help="Write summary and series here.")] = None,
        html: Annotated[Path | None, typer.Option(help="Write a report for a browser here, one file.")] = None,
        plot: Annotated[Path | None, typer.Option(help="Folder for a picture a series.")] = None,
    ) -> None:
        """Replay recorded series through the detector's own code: its alerts, and figures where there are labels."""
        if not 0 < fit_share <= 1:
            raise ConfigError(f"--fit-share must be above 0, something has to be learnt from, to 1, got {fit_share:g}")
        # Bounds that typer knows would cost every line of the help the width of "<float range> [x>=0.0]".
        for flag, value, least in (
            ("train", train, 0),
            ("interval-s", interval_s or 0, 0),
            ("jobs", jobs, 1),
            ("capacity", capacity, LEAST),
        ):
            if not value >= least:
                raise ConfigError(f"--{flag} must be at least {least}, got {value:g}")
        if plot is not None and find_spec("matplotlib") is None:  # before an hour's work, not after it
            raise ConfigError("--plot needs matplotlib: pip install 'anomalyllm[backtest]'")
        live = live and settings.profile != "paper"  # the paper's student is fitted once
        if live and history == "train":
            raise ConfigError("--history train: a live stream keeps its ring; give --once, or a number of slots")
        if capacity != RING and (history != "ring" or not live):
            raise ConfigError("--capacity is the ring that a live stream learns from: leave out --history and --once")
        slots = _slots(history, capacity if live else None)
        configure_logs(settings.log_format, "warning", settings.worker_name)

        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        from trainer.backtest.report import alert_lines, summarise, tables, write_json
        from trainer.backtest.runner import Row, longest_first, run
        from trainer.backtest.sources import items_of
        from trainer.backtest.tables import Reading
        from trainer.backtest.task import ROOMS, ROOT, Task, code_digest

        items = items_of(paths, Reading(time_column, label_column, interval_s, train, kind), only or [])
        code = code_digest(ROOT / room for room in ROOMS)
        task = Task(settings, code, slots, fit_share, int(latency), seed, live, plot, html is not None)
        order = longest_first(items)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=err, transient=True) as bar:
            todo = bar.add_task("slots", total=sum(max(item.slots, 1) for item in items))

            def advance(at: int, row: Row) -> None:
                bar.update(todo, advance=max(order[at].slots, 1), description=f"slots ({row['name']})")

            done = {row["name"]: row for row in run([(item, task) for item in order], jobs, advance)}
        rows = [done[item.name] for item in items]
        summary = summarise(rows, int(latency))
        out.print(tables(rows, summary))
        for line in alert_lines(rows):
            out.print(line)
        if html is not None:
            from trainer.backtest.browsed import write_report

            write_report(html, rows, summary)
            out.print(f"report: {html}", markup=False)
        if json_file is not None:
            write_json(json_file, summary, rows)
        if summary["failed"]:
            raise typer.Exit(1)


def _slots(history: str, ring: int | None) -> int | None:
    """Slots that a fit may learn from; None: the whole training part. `ring`: of a live stream, None: it is none."""
    if history in ("ring", "train"):
        return ring
    if not history.isdigit() or int(history) < 1:
        raise ConfigError(f"--history: expected 'ring', 'train' or a number of slots, got {history!r}")
    return int(history)
