"""`anomalyllm up`: broker, Redis and the three workers on this machine, until Ctrl-C."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.panel import Panel

from streamer.cli.options import with_settings
from streamer.cli.running import err, out, run_until_stopped
from streamer.settings import CommonSettings

if TYPE_CHECKING:
    from streamer.embedded import EmbeddedStack
    from streamer.workers import Workers

CHECK_S = 1.0
# A worker that cannot start (no memory, a bad setting) must not fill the log by dying in a loop.
RESTART_AFTER_S = 3.0

SNIPPETS = """\
Kafka   {bootstrap}
Redis   {redis_url}
state   {state_dir} (logs in {state_dir}/logs)

[bold]In another terminal[/]
  export ANOMALYLLM_BOOTSTRAP={bootstrap} ANOMALYLLM_REDIS_URL={redis_url}
  export ANOMALYLLM_STATE_DIR={state_dir}
  anomalyllm publish metrics.csv --stream my.metric     [dim]# columns: ts,value[/]
  anomalyllm alerts --since 1h
  anomalyllm streams list
  anomalyllm train --all

[bold]From Python[/]
  producer = AIOKafkaProducer(bootstrap_servers="{bootstrap}")
  await producer.start()
  await producer.send("metrics", b'{{"stream":"my.metric","ts":1769860800.0,"value":1.5}}', key=b"my.metric")
"""


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("up")
    @with_settings(CommonSettings)
    def up(
        settings: CommonSettings,
        workers: Annotated[bool, typer.Option(help="Run the streamer, detector and trainer as well.")] = True,
    ) -> None:
        """Start the embedded broker, Redis and the workers; stays until Ctrl-C."""
        run_until_stopped(_up(settings, workers))


async def _up(settings: CommonSettings, with_workers: bool) -> None:
    from streamer.embedded import EmbeddedStack
    from streamer.kafka import provision
    from streamer.workers import Workers, worker_env

    state_dir: Path = settings.state_dir.resolve() / "up"
    async with EmbeddedStack(state_dir) as stack:
        placed = settings.model_copy(
            update={"bootstrap": stack.bootstrap, "redis_url": stack.redis_url, "state_dir": state_dir}
        )
        await provision(placed)
        facts = {"bootstrap": stack.bootstrap, "redis_url": stack.redis_url, "state_dir": state_dir}
        out.print(Panel(SNIPPETS.format(**facts).strip(), title="AnomalyLLM is up", border_style="cyan"))
        workers = Workers(worker_env(placed), state_dir)
        try:
            if with_workers:
                workers.start()
            out.print("[dim]Ctrl-C stops everything[/]")
            while True:
                await asyncio.sleep(CHECK_S)
                await _revive(stack, workers)
        finally:
            await workers.stop()


async def _revive(stack: "EmbeddedStack", workers: "Workers") -> None:
    """Start again what has died, saying so; the broker comes back empty, and the workers notice."""
    if not stack.broker_alive:
        err.print("[yellow]the embedded broker died; starting it again, empty[/]")
        await stack.start_broker()
    if not stack.redis_alive:
        err.print("[yellow]the embedded Valkey died; starting it again with its data[/]")
        await stack.start_redis()
    for child in workers.dead():
        err.print(f"[yellow]{child.name} died[/]; the end of {child.log}:\n{escape(child.log_tail())}")
        await asyncio.sleep(RESTART_AFTER_S)
        child.start()
