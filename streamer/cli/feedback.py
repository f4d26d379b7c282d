"""`anomalyllm feedback`: say what an incident was."""

import time
from typing import Annotated

import typer
from pydantic import ValidationError

from streamer.cli.options import with_settings
from streamer.cli.running import ask, out, send_one
from streamer.contracts import Feedback, Verdict
from streamer.errors import ConfigError
from streamer.settings import CommandSettings
from streamer.timestamps import format_ns

_EFFECT: dict[Verdict, str] = {
    "true": "its slots are not learnt from",
    "maintenance": "its slots are not learnt from",
    "false_alarm": "it ends, if it still lasts, and its slots are learnt from",
}


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("feedback")
    @with_settings(CommandSettings)
    def feedback(
        settings: CommandSettings,
        stream: Annotated[str, typer.Argument(help="Name of the stream.")],
        incident: Annotated[str, typer.Argument(help="Id of the incident, as in its alerts.")],
        verdict: Annotated[Verdict, typer.Argument(help="What it was.")],
        note: Annotated[str | None, typer.Option(help="Anything else, for people.")] = None,
    ) -> None:
        """Say what an incident was: students learn from it, or do not."""
        try:
            feedback = Feedback(
                incident_id=incident.partition(":")[0],  # an alert shows id:revision
                stream=stream,
                verdict=verdict,
                note=note,
                at=format_ns(time.time_ns()),
            )
        except ValidationError as error:
            raise ConfigError("\n".join(f"{e['loc'][0]}: {e['msg']}" for e in error.errors())) from error
        ask(settings, send_one(settings, "feedback", stream, feedback.model_dump_json(exclude_none=True).encode()))
        out.print(f"{stream}: {feedback.incident_id} was {verdict}: {_EFFECT[verdict]}", markup=False)
