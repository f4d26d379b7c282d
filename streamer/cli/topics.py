"""`anomalyllm topics`: create the topics of the contract, and say what is there."""

import typer
from rich.table import Table

from streamer.cli.options import with_settings
from streamer.cli.running import ask, out
from streamer.settings import CommandSettings

DIRECTIONS = {
    "metrics": "users → streamer",
    "streams": "users, CLI → all",
    "windows": "streamer → detector",
    "anomalies": "detector → users",
    "training": "detector, CLI → trainer",
    "models": "trainer → detector",
    "feedback": "users, CLI → detector",
    "dead-letters": "all → operators",
}


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    topics = typer.Typer(help="Create and describe the topics.", no_args_is_help=True)
    app.add_typer(topics, name="topics")

    @topics.command("provision")
    @with_settings(CommandSettings, shown=("partitions", "replication"))
    def provision(settings: CommandSettings) -> None:
        """Create the topics that are missing; those that exist are left as they are."""
        from streamer.kafka.topics import provision

        created = ask(settings, provision(settings))
        out.print("\n".join(f"created {name}" for name in created) or "all topics exist")

    @topics.command("describe")
    @with_settings(CommandSettings)
    def describe(settings: CommandSettings) -> None:
        """Show each topic: who writes and reads it, partitions, records."""
        out.print(ask(settings, _describe(settings)))


async def _describe(settings: CommandSettings) -> Table:
    from streamer.contracts import COMPACTED, TOPICS
    from streamer.kafka.client import make_consumer
    from streamer.kafka.topics import partitions_of

    table = Table(box=None, header_style="bold")
    for column in ("topic", "writes → reads", "kind"):
        table.add_column(column, no_wrap=True)
    for column in ("partitions", "records"):
        table.add_column(column, justify="right")
    consumer = await make_consumer(settings, None)
    try:
        existing = await consumer.topics()
        for topic in TOPICS:
            name, kind = settings.topic(topic), "table" if topic in COMPACTED else "log"
            if name not in existing:
                table.add_row(name, DIRECTIONS[topic], kind, "–", "missing: anomalyllm topics provision")
                continue
            partitions = await partitions_of(consumer, name)
            begin, end = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
            records = sum(end[p] - begin[p] for p in partitions)
            table.add_row(name, DIRECTIONS[topic], kind, str(len(partitions)), f"{records:,}")
    finally:
        await consumer.stop()
    return table
