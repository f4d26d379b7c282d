"""`anomalyllm doctor`: is everything as it should be, and what to do where it is not."""

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from streamer.cli.options import WORKER_CONNECTION, with_settings
from streamer.cli.running import only_warnings, out
from streamer.settings import CommonSettings

if TYPE_CHECKING:
    from streamer.doctor.findings import Finding

_SIGNS = {"ok": "[green]✔[/]", "note": "[dim]·[/]", "warn": "[yellow]![/]", "bad": "[bold red]✘[/]"}


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("doctor")
    @with_settings(CommonSettings, shown=("partitions", "partitioner"), connection=WORKER_CONNECTION)
    def doctor(
        settings: CommonSettings,
        as_json: Annotated[
            bool, typer.Option("--json", envvar="ANOMALYLLM_DOCTOR_JSON", help="One JSON object a finding.")
        ] = False,
    ) -> None:
        """Check servers, topics, keys, store, teacher, clocks and limits; exit status 1 when something is broken."""
        import orjson

        from streamer.doctor.examine import examine

        only_warnings()
        found = asyncio.run(examine(settings))
        for finding in found:
            if as_json:
                typer.echo(orjson.dumps(asdict(finding)).decode())
            else:
                out.print(line(finding))
        broken, hurting = (sum(finding.level == level for finding in found) for level in ("bad", "warn"))
        if not as_json:
            out.print(f"\n{broken} broken, {hurting} to be looked at, {len(found)} findings")
        if broken:
            raise typer.Exit(1)


def line(finding: "Finding") -> str:
    """A finding for a person, in rich markup; its cure under it."""
    cure = f"\n    [bold]→[/] {escape(finding.cure)}" if finding.cure else ""
    return f"{_SIGNS[finding.level]} [bold]{finding.subject}[/]: {escape(finding.text)}{cure}"
