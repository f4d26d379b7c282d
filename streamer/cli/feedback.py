"""`anomalyllm feedback`: say what an incident was."""

import time
from typing import Annotated

import typer
from pydantic import ValidationError

from streamer.cli.options import with_settings
from streamer.cli.running import ask, err, out, send_one
from streamer.contracts import Feedback, Verdict
from streamer.errors import ConfigError
from streamer.settings import CommandSettings
from streamer.timestamps import format_ns

# What `alerts` shows is the beginning of an id; it is looked for among the alerts of so many days, as `alerts show` does.
ID_LENGTH, LOOK_BACK_S = 36, 30 * 86_400

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
        incident: Annotated[str, typer.Argument(help="Id of the incident, or its beginning, as in its alerts.")],
        verdict: Annotated[Verdict, typer.Argument(help="What it was.")],
        note: Annotated[str | None, typer.Option(help="Anything else, for people.")] = None,
    ) -> None:
        """Say what an incident was: students learn from it, or do not."""
        given = incident.partition(":")[0]  # an alert's own id is id:revision
        try:
            feedback = Feedback(
                incident_id=given,
                stream=stream,
                verdict=verdict,
                note=note,
                at=format_ns(time.time_ns()),
            )
        except ValidationError as error:
            raise ConfigError("\n".join(f"{e['loc'][0]}: {e['msg']}" for e in error.errors())) from error
        if len(given) < ID_LENGTH:
            feedback = feedback.model_copy(update={"incident_id": ask(settings, _whole(settings, stream, given))})
        ask(settings, send_one(settings, "feedback", stream, feedback.model_dump_json(exclude_none=True).encode()))
        out.print(f"{stream}: {feedback.incident_id} was {verdict}: {_EFFECT[verdict]}", markup=False)


async def _whole(settings: CommandSettings, stream: str, given: str) -> str:
    """The id that begins so, among the stream's alerts; as it was given where there is none. Raises ConfigError: several."""
    from streamer.overview.following import IncidentLog

    log = IncidentLog(settings)
    try:
        await log.start(time.time_ns() // 1_000_000 - LOOK_BACK_S * 1000, settings.timeout)
        found = log.only(given, stream)
    finally:
        await log.stop()
    if found is None:
        err.print(f"{stream} has no incident {given} among the alerts of 30 days: sent as it is", markup=False)
    return found or given
