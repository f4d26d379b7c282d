"""`anomalyllm topics`: create the topics of the contract, and say what is there."""

import json
from typing import Annotated

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
    @with_settings(CommandSettings, shown=("partitions", "replication"))
    def provision(
        settings: CommandSettings,
        fix: Annotated[
            bool,
            typer.Option("--fix", help="Add partitions where topics have too few; stop the workers before."),
        ] = False,
    ) -> None:
        """Create the topics that are missing, and check the partitions of those that exist."""
        from streamer.kafka.topics import provision

        done = ask(settings, provision(settings, fix=fix))
        out.print("\n".join(done) or "all topics exist", highlight=False)
        if any(" partitions, now " in line for line in done):
            out.print(MOVED)

    @topics.command("describe")
    @with_settings(CommandSettings)
    def describe(settings: CommandSettings) -> None:
        """Show each topic: who writes and reads it, partitions, records."""
        out.print(ask(settings, _describe(settings)))

    @topics.command("acls")
    @with_settings(CommandSettings)
    def acls(
        settings: CommandSettings,
        role: Annotated[
            list[str] | None,
            typer.Option("--role", help="Only this role (may be repeated); none: all.", show_default=False),
        ] = None,
        principal: Annotated[
            str, typer.Option("--principal", help="Who a role is to Kafka; {role} stands for its name.")
        ] = "User:anomalyllm-{role}",
        source: Annotated[
            list[str] | None,
            typer.Option("--source", help="Foreign topic that the streamer reads.", show_default=False),
        ] = None,
        command_config: Annotated[
            str | None, typer.Option("--command-config", help="File that the printed commands name for their login.")
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="One JSON object an access control entry.")] = False,
    ) -> None:
        """Print the least rights of each worker, as kafka-acls commands or JSON; asks no server."""
        from streamer.kafka.rights import ROLES, commands, rights

        for name in role or ROLES:
            found = rights(settings, name, principal.replace("{role}", name), source or ())
            if as_json:
                for acl in found:
                    typer.echo(json.dumps({**acl._asdict(), "role": name, "permission": "Allow"}))
            else:
                typer.echo("\n".join([f"# {name}", *commands(found, settings.bootstrap, command_config)]))


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
