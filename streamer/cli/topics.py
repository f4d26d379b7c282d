"""`anomalyllm topics`: create the topics of the contract, and say what is there."""

import asyncio
from typing import Annotated

import typer
from rich.table import Table

from streamer.cli.options import with_settings
from streamer.cli.running import GIVE_UP_AFTER_S, out
from streamer.settings import CommonSettings

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

MOVED = (
    "Streams move to other partitions: start all workers with this number. Windows, models and incidents stay; records "
    "that wait in an old partition, and those of publishers that have not heard of the new ones yet, are sent on to "
    "their stream's new one."
)


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    topics = typer.Typer(help="Create and describe the topics.", no_args_is_help=True)
    app.add_typer(topics, name="topics")

    @topics.command("provision")
    @with_settings(CommonSettings, shown=("partitions", "replication"))
    def provision(
        settings: CommonSettings,
        fix: Annotated[
            bool,
            typer.Option("--fix", help="Add partitions where topics have too few; stop the workers before."),
        ] = False,
    ) -> None:
        """Create the topics that are missing, and check the partitions of those that exist."""
        from streamer.kafka.topics import provision

        done = asyncio.run(provision(settings, give_up_after_s=GIVE_UP_AFTER_S, fix=fix))
        out.print("\n".join(done) or "all topics exist", highlight=False)
        if any(" partitions, now " in line for line in done):
            out.print(MOVED)

    @topics.command("describe")
    @with_settings(CommonSettings)
    def describe(settings: CommonSettings) -> None:
        """Show each topic: who writes and reads it, partitions, records."""
        out.print(asyncio.run(_describe(settings)))


async def _describe(settings: CommonSettings) -> Table:
    from streamer.contracts import COMPACTED, TOPICS
    from streamer.kafka.client import make_consumer
    from streamer.kafka.topics import partitions_of

    table = Table(box=None, header_style="bold")
    for column in ("topic", "writes → reads", "kind"):
        table.add_column(column, no_wrap=True)
    for column in ("partitions", "records"):
        table.add_column(column, justify="right")
    consumer = await make_consumer(settings, None, give_up_after_s=GIVE_UP_AFTER_S)
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
