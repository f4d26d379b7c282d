"""`anomalyllm alerts`: follow the incidents, two lines each; `alerts show`: all that is known of one, with its picture."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from streamer.cli.options import WORKER_CONNECTION, with_settings
from streamer.cli.running import answering, err, out, parse_age, parse_since, run_until_stopped
from streamer.cli.status import SEVERITY_STYLE
from streamer.contracts import OVER, IncidentState, Severity
from streamer.errors import ConfigError
from streamer.overview.rows import WORST
from streamer.settings import CommandSettings

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

    from streamer.contracts import AnomalyEvent, Incident

# Half seconds without an alert until the brokers are asked whether they are still there.
_ASK_EVERY = 4
STATES: tuple[IncidentState, ...] = ("open", "update", "resolved", "revised", "retracted")
SHORT_ID = 8  # characters: enough among the incidents of a month, and `alerts show` takes them


@dataclass(frozen=True)
class Wanted:
    """Which alerts somebody wants to see.

    >>> Wanted("web.*", severity="warning").passes(severity="info", stream="web.cpu", state="open", labels={})
    False
    """

    glob: str = "*"
    severity: Severity = "info"  # at least
    states: frozenset[str] = frozenset()  # none: all
    labels: Mapping[str, str] = field(default_factory=dict)  # all of them

    def passes(self, stream: str, severity: Severity, state: str, labels: Mapping[str, str]) -> bool:
        """Whether an alert is among them."""
        return (
            fnmatchcase(stream, self.glob)
            and WORST[severity] >= WORST[self.severity]
            and (not self.states or state in self.states)
            and self.labels.items() <= labels.items()
        )

    def event(self, event: "AnomalyEvent") -> bool:
        """The same of an event."""
        data = event.data
        return self.passes(data.stream, data.severity, data.state, data.labels)


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    alerts = typer.Typer(invoke_without_command=True, no_args_is_help=False)
    app.add_typer(alerts, name="alerts")

    @alerts.callback()
    @with_settings(CommandSettings)
    def follow_all(
        context: typer.Context,
        settings: CommandSettings,
        since: Annotated[str, typer.Option(help="now, an age (15m, 2h, 1d) or an RFC 3339 time.")] = "now",
        stream: Annotated[str, typer.Option(help="Only streams that match this pattern, e.g. 'host.*'.")] = "*",
        severity: Annotated[Severity, typer.Option(help="At least this bad.")] = "info",
        label: Annotated[list[str] | None, typer.Option(help="Only with this label, key=value; repeatable.")] = None,
        state: Annotated[list[str] | None, typer.Option(help=f"Only {', '.join(STATES)}; repeatable.")] = None,
        as_json: Annotated[
            bool,
            typer.Option("--json", envvar="ANOMALYLLM_ALERTS_JSON", help="The CloudEvents as they are, one a line."),
        ] = False,
        follow: Annotated[bool, typer.Option(help="Go on until Ctrl-C; otherwise end at the last alert.")] = True,
    ) -> None:
        """Follow the alerts, the newest last; `alerts show ID`: one with its picture."""
        if context.invoked_subcommand is not None:
            return
        from streamer.cli.streams import parse_labels

        unknown = sorted(set(state or ()) - set(STATES))
        if unknown:
            raise ConfigError(f"--state: there is no state {', '.join(unknown)}; there are {', '.join(STATES)}")
        wanted = Wanted(stream, severity, frozenset(state or ()), parse_labels(label))
        run_until_stopped(_alerts(settings, parse_since(since), wanted, as_json, follow))

    @alerts.command("show")
    @with_settings(CommandSettings, connection=WORKER_CONNECTION)
    def show_one(
        settings: CommandSettings,
        incident: Annotated[str, typer.Argument(help="Id of the incident, or its beginning.")],
        since: Annotated[str, typer.Option(help="Look for it from then on: an age such as 7d or 90d.")] = "30d",
        picture: Annotated[bool, typer.Option(help="Draw it.")] = True,
    ) -> None:
        """Tell all that is known of one alert, and draw it."""
        from streamer.cli.incident_story import story

        out.print(run_until_stopped(story(settings, incident, parse_age(since), picture)))


async def _alerts(settings: CommandSettings, since: datetime, wanted: Wanted, as_json: bool, follow: bool) -> None:
    from streamer.overview.following import EventReader

    reader = EventReader(settings, "anomalies")
    try:
        async with answering(settings):
            await reader.start(int(since.timestamp() * 1000))
        # What lies in the past comes partition by partition: it is put in order before it is shown.
        past: list[ConsumerRecord] = []
        ends = quiet = 0
        while ends < 2:
            async with answering(settings):
                past += await reader.poll(150)
                ends = ends + 1 if await reader.at_end() else 0
        for record in sorted(past, key=lambda record: (record.timestamp, record.partition, record.offset)):
            _show(record, wanted, as_json)
        while follow:
            async with answering(settings):
                records = await reader.poll(500)
                quiet = 0 if records else quiet + 1
                if quiet % _ASK_EVERY == _ASK_EVERY - 1:  # a consumer whose broker is away hears nothing, either
                    await reader.ask()
            for record in records:
                _show(record, wanted, as_json)
    finally:
        await reader.stop()


def _show(record: "ConsumerRecord", wanted: Wanted, as_json: bool) -> None:
    from pydantic import ValidationError

    from streamer.contracts import AnomalyEvent

    try:
        event = AnomalyEvent.model_validate_json(record.value or b"")
    except ValidationError as error:
        err.print(f"[dim]not an alert, at {record.partition}/{record.offset}: {escape(str(error))}[/]")
        return
    if not wanted.event(event):
        return
    if as_json:
        typer.echo(record.value)
        return
    out.print(line(event))


def line(event: "AnomalyEvent") -> str:
    """One revision of an incident in two lines of rich markup: when, what, where; and the sentence."""
    incident = event.data
    return f"{headline(incident)}\n  {escape(incident.reason)}"


def headline(incident: "Incident") -> str:
    """When, what, where, since when, and the beginning of its id."""
    style = "green" if incident.state in OVER else SEVERITY_STYLE[incident.severity]
    notes = [f"since {incident.started_at[:19]}"]
    if incident.historic:
        notes.append("historic")
    if incident.warming:
        notes.append("warming")
    return (
        f"[dim]{escape(incident.updated_at[:19])}[/] [{style}]{incident.state:<9} {incident.severity:<8}[/] "
        f"[bold]{escape(incident.stream)}[/] [dim]{escape(' · '.join(notes))} · {incident.incident_id[:SHORT_ID]}[/]"
    )
