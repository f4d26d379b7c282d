"""`anomalyllm alerts`: follow the incidents, each with its reason."""

from datetime import datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from streamer.cli.options import with_settings
from streamer.cli.running import answering, err, out, parse_since, run_until_stopped
from streamer.settings import CommandSettings

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer, TopicPartition

    from streamer.contracts import AnomalyEvent

# A batch has one time stamp in the broker's index: begin a little early and leave out by the record's own.
SEEK_MARGIN_MS = 60_000
# Half seconds without an alert until the brokers are asked whether they are still there.
_ASK_EVERY = 4
STYLES = {"critical": "bold red", "warning": "yellow", "info": "cyan"}


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("alerts")
    @with_settings(CommandSettings)
    def alerts(
        settings: CommandSettings,
        since: Annotated[str, typer.Option(help="now, an age (15m, 2h, 1d) or an RFC 3339 time.")] = "now",
        stream: Annotated[str, typer.Option(help="Only streams that match this pattern, e.g. 'host.*'.")] = "*",
        as_json: Annotated[
            bool,
            typer.Option("--json", envvar="ANOMALYLLM_ALERTS_JSON", help="The CloudEvents as they are, one a line."),
        ] = False,
        follow: Annotated[bool, typer.Option(help="Go on until Ctrl-C; otherwise end at the last alert.")] = True,
    ) -> None:
        """Follow the alerts, each with its reason."""
        run_until_stopped(_alerts(settings, parse_since(since), stream, as_json, follow))


async def _alerts(settings: CommandSettings, since: datetime, pattern: str, as_json: bool, follow: bool) -> None:
    from pydantic import ValidationError

    from streamer.contracts import AnomalyEvent
    from streamer.kafka.client import fetch, make_consumer
    from streamer.kafka.topics import at_end, partitions_of

    since_ms = int(since.timestamp() * 1000)
    async with answering(settings):
        consumer = await make_consumer(settings, None)
    try:
        async with answering(settings):
            partitions = await _seek(consumer, settings.topic("anomalies"), since_ms)
        silent = quiet = 0
        while follow or silent < 2:
            async with answering(settings):
                batches = await fetch(settings, consumer, 500)
                silent = silent + 1 if not batches and await at_end(consumer, partitions) else 0
                quiet = 0 if batches else quiet + 1
                if quiet % _ASK_EVERY == _ASK_EVERY - 1:  # a consumer whose broker is away hears nothing, either
                    await partitions_of(consumer, settings.topic("anomalies"))
            for record in (record for records in batches.values() for record in records):
                name = (record.key or b"").decode(errors="replace")
                if record.timestamp < since_ms or not fnmatchcase(name, pattern):
                    continue
                if as_json:
                    typer.echo(record.value)
                    continue
                try:
                    out.print(line(AnomalyEvent.model_validate_json(record.value)))
                except ValidationError as error:
                    err.print(f"[dim]not an alert, at {record.partition}/{record.offset}: {escape(str(error))}[/]")
    finally:
        await consumer.stop()


async def _seek(consumer: "AIOKafkaConsumer", topic: str, since_ms: int) -> list["TopicPartition"]:
    from streamer.kafka.topics import partitions_of

    partitions = await partitions_of(consumer, topic)
    consumer.assign(partitions)
    start_ms = max(0, since_ms - SEEK_MARGIN_MS)
    found = await consumer.offsets_for_times(dict.fromkeys(partitions, start_ms))
    ends = await consumer.end_offsets(partitions)
    for partition in partitions:
        at = found.get(partition)
        # Nothing that young: None on Kafka, the time stamp -1 on the embedded broker.
        consumer.seek(partition, ends[partition] if at is None or at.timestamp < 0 else at.offset)
    return partitions


def line(event: "AnomalyEvent") -> str:
    """One incident revision for a person, in rich markup: when, what, where, and the reason under it."""
    incident = event.data
    style = "green" if incident.state in ("resolved", "retracted") else STYLES[incident.severity]
    shares = ", ".join(
        f"{share.channel} {share.share:.0%}"
        + ("" if share.value is None else f" at {share.value:.4g}")
        + ("" if share.low is None or share.high is None else f" (expected {share.low:.4g} to {share.high:.4g})")
        for share in incident.channels[:3]
    )
    facts = f"score {incident.score:.1f} of {incident.threshold:.1f}, p={incident.tail_probability:.1g}"
    view = f"{incident.view}, {incident.scale} slots, model {incident.model_version or ('none yet (warming)' if incident.warming else 'none')}"
    historic = " · historic" if incident.historic else ""
    return (
        f"[dim]{escape(incident.updated_at)}[/] [{style}]{incident.state:<9}[/] [bold]{escape(incident.stream)}[/] "
        f"[{style}]{incident.severity}[/]{historic} · since {escape(incident.started_at)}\n"
        f"  {escape(incident.reason)}\n"
        f"  [dim]{facts}; {escape(shares)}; {escape(view)}; {incident.incident_id}:{incident.revision}[/]"
    )
