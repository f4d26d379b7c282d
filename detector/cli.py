"""`anomalyllm detector`: the scoring worker."""

import typer

from detector.live.settings import WorkerSettings
from streamer.cli.options import with_settings


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("detector")
    @with_settings(WorkerSettings)
    def detector(settings: WorkerSettings) -> None:
        """Run a detector worker: windows in, explained alerts out."""
        from detector.live.worker import run

        run(settings)
