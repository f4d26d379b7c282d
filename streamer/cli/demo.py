"""`anomalyllm demo`: the pipeline on this host, live in the terminal or as one JSON object."""

import sys
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.live import Live
from rich.markup import escape

from streamer.cli.options import with_settings
from streamer.cli.running import err, out, run_until_stopped
from streamer.settings import CommonSettings

if TYPE_CHECKING:
    from streamer.demo.screen import AlertView, DemoView

STOPPED = 130  # what a shell says of a command ended by Ctrl-C


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("demo")
    @with_settings(CommonSettings, connection=("state_dir", "config"))
    def demo(
        settings: CommonSettings,
        headless: Annotated[
            bool, typer.Option("--headless", help="No screen: lines on stderr, and it stops by itself.")
        ] = False,
        as_json: Annotated[
            bool,
            typer.Option(
                "--json", envvar="ANOMALYLLM_DEMO_JSON", help="The outcome as one JSON object on the last line."
            ),
        ] = False,
    ) -> None:
        """Watch this host for two minutes: learn its metrics, burn CPU and disk, see it found and explained.

        Exit status 0 only if the provoked and the known anomaly were both found, at least 8 students were
        trained, and there were at most 2 false alerts.
        """
        from streamer.demo.run import Demo
        from streamer.host.logs import configure_logs

        screen = not headless and out.is_terminal
        configure_logs("auto", "error")
        if screen:
            with Live(console=out, screen=True, auto_refresh=False) as live:
                run = Demo(settings, Screen(live))
                run_until_stopped(run.run(stay=not as_json))
        else:
            run = Demo(settings, Lines())
            run_until_stopped(run.run())
        if run.outcome is None:
            raise typer.Exit(STOPPED)
        if as_json:
            typer.echo(orjson.dumps(run.outcome.as_json()).decode())
        else:
            from streamer.demo.run import summary

            out.print(f"{'passed' if run.outcome.passed else 'failed'}: {escape(summary(run.outcome))}")
        sys.stdout.flush()
        raise typer.Exit(0 if run.outcome.passed else 1)


class Screen:
    """The live screen."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def update(self, view: "DemoView") -> None:
        """Draw it."""
        from streamer.demo.screen import render

        self._live.update(render(view), refresh=True)

    def phase(self, view: "DemoView") -> None:
        """The screen's head says it."""
        self.update(view)

    def alert(self, alert: "AlertView") -> None:
        """The screen's list has it; the terminal's bell calls."""
        if alert.state == "open":
            self._live.console.bell()


class Lines:
    """Phases and alerts as lines on stderr."""

    def update(self, view: "DemoView") -> None:
        """Lines are for what happens, not for what is."""

    def phase(self, view: "DemoView") -> None:
        """One line a phase."""
        err.print(f"[dim]{view.elapsed_s:5.1f} s[/] [cyan]{view.phase}[/] {escape(view.detail)}")

    def alert(self, alert: "AlertView") -> None:
        """One line an alert."""
        style = "green" if alert.state == "resolved" else "yellow"
        what = f"[{style}]{alert.state}[/] [bold]{escape(alert.stream)}[/]"
        err.print(f"[dim]{alert.clock}[/] {what} {escape(alert.reason)}")
