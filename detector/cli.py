"""`anomalyllm detector`: the scoring worker."""

import typer

from detector.live.settings import WorkerSettings
from streamer.cli.options import WORKER_CONNECTION, with_settings

SHOWN = ("open_hits", "open_window", "quiet", "warming", "fatigue", "min_history", "teacher_device")


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("detector")
    @with_settings(WorkerSettings, shown=SHOWN, connection=WORKER_CONNECTION)
    def detector(settings: WorkerSettings) -> None:
        """Run a detector worker: windows in, explained alerts out."""
        from detector.live.worker import run

        run(settings)
