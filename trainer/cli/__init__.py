"""`anomalyllm trainer`, `train`, `models`, `backtest` and `replay`. torch takes seconds to import: nothing here does it before it must."""

from typing import Annotated, Literal

import typer

from streamer.cli.options import WORKER_CONNECTION, with_settings
from streamer.cli.running import ask as ask_servers
from streamer.cli.running import out, run_until_stopped
from streamer.errors import ConfigError
from streamer.settings import CommandSettings
from trainer.backtest.cli import register as register_backtest
from trainer.replay.cli import register as register_replay
from trainer.settings import TrainerSettings

SHOWN = (
    "teacher", "teacher_budget", "teacher_device", "scales", "prototypes", "shapes", "medoids",
    "min_slots", "gate_max_excess", "gate_min_recall",
)  # fmt: skip
Streams = Annotated[
    list[str] | None, typer.Option("--stream", help="Stream to train; repeat for several.", show_default=False)
]
All = Annotated[bool, typer.Option("--all", help="All streams that have a window.")]
JobKind = Annotated[
    Literal["full", "prototypes"], typer.Option("--job", help="Full fit, or the cheap prototype update.")
]
Timeout = Annotated[float, typer.Option("--timeout", min=1.0, help="Seconds to wait for the models.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Follow until the models are announced.")]
Stream = Annotated[str, typer.Argument(help="Name of the stream.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""

    @app.command("trainer")
    @with_settings(TrainerSettings, shown=SHOWN, connection=WORKER_CONNECTION)
    def trainer(settings: TrainerSettings) -> None:
        """Run a trainer worker: training requests in, models out."""
        from trainer.worker import run

        run(settings)

    @app.command("train")
    @with_settings(CommandSettings)
    def train(
        settings: CommandSettings,
        stream: Streams = None,
        every: All = False,
        job: JobKind = "full",
        wait: Wait = True,
        timeout: Timeout = 300.0,
    ) -> None:
        """Ask the trainer for models and watch until they are there."""
        from trainer.cli.train import ask

        if bool(stream) == every:
            raise ConfigError("say which streams to train: either --stream NAME (repeat it for several) or --all")
        done = run_until_stopped(ask(settings, stream or [], job, timeout if wait else None))
        if done is False:
            raise typer.Exit(1)

    register_backtest(app)
    register_replay(app)
    models = typer.Typer(help="List and show models, roll one back.", no_args_is_help=True)
    app.add_typer(models, name="models")

    @models.command("list")
    @with_settings(CommandSettings)
    def listed(settings: CommandSettings, as_json: AsJson = False) -> None:
        """All streams that have a model."""
        from trainer.cli.models import read_records, table

        records = ask_servers(settings, read_records(settings))
        if as_json:
            for record in records:
                typer.echo(record.model_dump_json())
            return
        out.print(table(records))

    @models.command("show")
    @with_settings(CommandSettings, connection=WORKER_CONNECTION)
    def show(settings: CommandSettings, stream: Stream, as_json: AsJson = False) -> None:
        """One stream's models, with what is known of each."""
        from trainer.cli.models import details, read_record

        record = ask_servers(settings, read_record(settings, stream))
        if as_json:
            typer.echo(record.model_dump_json())
            return
        out.print(details(settings, record))

    @models.command("rollback")
    @with_settings(CommandSettings)
    def rollback(settings: CommandSettings, stream: Stream) -> None:
        """Put the previous model into force again; doing it twice undoes it."""
        from trainer.cli.models import roll_back

        record = ask_servers(settings, roll_back(settings, stream))
        assert record.promoted is not None
        out.print(f"{stream}: {record.promoted.version} is in force")
