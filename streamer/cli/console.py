"""`anomalyllm console`: pages for a browser."""

import typer

from streamer.cli.options import CONNECTION, with_settings
from streamer.errors import ConfigError
from streamer.settings import ConsoleSettings

EXTRA = "the console needs more packages: pip install 'anomalyllm[console]'"
SHOWN = ("console_host", "console_port", "console_token", "console_names")


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("console")
    @with_settings(ConsoleSettings, shown=SHOWN, connection=CONNECTION)
    def console(settings: ConsoleSettings) -> None:
        """Serve the console: streams, incidents and health in a browser."""
        try:
            from streamer.console.process import run
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] == "streamer":
                raise
            raise ConfigError(f"{error}: {EXTRA}") from error
        run(settings)
