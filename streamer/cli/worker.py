"""`anomalyllm streamer`: the data-plane worker."""

import typer

from streamer.cli.options import with_settings
from streamer.settings import StreamerSettings


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("streamer")
    @with_settings(
        StreamerSettings, shown=("source", "capacity", "lateness_slots", "max_ahead_s", "partitions", "partitioner")
    )
    def streamer(settings: StreamerSettings) -> None:
        """Run a streamer worker: metrics in, windows out."""
        from streamer.worker import run

        run(settings)
