"""`anomalyllm sink`: deliver alerts to Alertmanager, PagerDuty, Opsgenie, Slack, mail and webhooks."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from streamer.cli.options import with_settings
from streamer.cli.running import out
from streamer.errors import ConfigError
from streamer.settings import CommonSettings

EXTRA = "the sinks need more packages: pip install 'anomalyllm[sinks]'"


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("sink")
    @with_settings(CommonSettings)
    def sink(
        settings: CommonSettings,
        sinks: Annotated[Path, typer.Option("--sinks", envvar="ANOMALYLLM_SINKS", help="The sinks' TOML file.")] = Path(
            "sinks.toml"
        ),
        only: Annotated[
            list[str] | None, typer.Option("--only", help="Run this sink of the file only (may be repeated).")
        ] = None,
        test: Annotated[
            str | None, typer.Option("--test", help="Send a test alert to this sink, show the answer, and end.")
        ] = None,
    ) -> None:
        """Deliver alerts: to Alertmanager, PagerDuty, Opsgenie, Slack, mail or webhooks."""
        try:
            from streamer.sinks.config import load_sinks
            from streamer.sinks.process import run
            from streamer.sinks.trial import try_sink
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] == "streamer":
                raise
            raise ConfigError(f"{error}: {EXTRA}") from error

        file = load_sinks(sinks)
        unknown = [name for name in (*(only or ()), *((test,) if test else ())) if name not in file.sinks]
        if unknown:
            raise ConfigError(f"{sinks} has no sink {', '.join(unknown)}; it has {', '.join(file.sinks)}")
        if test is None:
            run(settings, file, only)
            return
        for answer in asyncio.run(try_sink(file, test)):
            out.print(f"{test}: {answer}", markup=False)
