"""`anomalyllm up`: broker, Redis and the three workers on this machine, until Ctrl-C."""

import asyncio
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from streamer.cli.options import with_settings
from streamer.cli.running import err, out, run_until_stopped
from streamer.settings import ConsoleSettings

if TYPE_CHECKING:
    from streamer.host.embedded import EmbeddedStack
    from streamer.host.fleet import Fleet

# What a Kafka and a Redis client expect when nobody tells them anything; taken if free.
USUAL_PORTS = (9092, 6379)
CHECK_S = 1.0
# A worker that cannot start (no memory, a bad setting) must not fill the log by dying in a loop.
RESTART_AFTER_S = 2.0
RESTART_AFTER_MAX_S = 60.0

# No box around it: a line that is cut or framed cannot be copied.
SNIPPETS = """\
[bold cyan]AnomalyLLM is up[/]
Kafka  {bootstrap}
Redis  {redis_url}
logs   {logs}
pages  {pages}{console}

[bold]In another terminal[/]
  export ANOMALYLLM_BOOTSTRAP={bootstrap}
  export ANOMALYLLM_REDIS_URL={redis_url}
  anomalyllm publish metrics.csv --stream my.metric     [dim]# columns: ts,value[/]
  anomalyllm alerts --since 1h
  anomalyllm status --watch
  anomalyllm streams list

[bold]From Python[/]
  producer = AIOKafkaProducer(bootstrap_servers="{bootstrap}")
  await producer.start()
  point = b'{{"stream":"my.metric","ts":1769860800.0,"value":1.5}}'
  await producer.send_and_wait("{metrics}", point, key=b"my.metric")

[dim]Ctrl-C stops everything[/]"""


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("up")
    @with_settings(
        ConsoleSettings,
        shown=("console_port", "console_token"),
        connection=("topic_prefix", "partitions", "state_dir", "store", "config"),
    )
    def up(
        settings: ConsoleSettings,
        workers: Annotated[bool, typer.Option(help="Run the streamer, detector and trainer as well.")] = True,
        console: Annotated[bool, typer.Option(help="Serve the console, pages for a browser, as well.")] = True,
    ) -> None:
        """Start the embedded broker, Redis, the workers and the console; stays until Ctrl-C."""
        run_until_stopped(_up(settings, workers, console))


def _console(settings: ConsoleSettings) -> tuple[ConsoleSettings, str]:
    """Where the console will be, its port taken if free; and how to say it."""
    from streamer.host.embedded import free_port

    placed = settings.model_copy(update={"console_port": free_port(settings.console_port or None)})
    where = f"http://{placed.console_host}:{placed.console_port}"
    only = "" if placed.console_token else "   [dim]# only shows; --console-token lets it change things[/]"
    return placed, f"\nconsole {where}{only}"


async def _up(settings: ConsoleSettings, with_workers: bool, with_console: bool) -> None:
    from streamer.host.embedded import EmbeddedStack
    from streamer.host.fleet import WORKERS, Fleet, console_env, metrics_ports, worker_env
    from streamer.kafka.topics import provision

    state_dir = settings.state_dir.resolve()
    stack_dir = state_dir / "up"
    async with EmbeddedStack(stack_dir, ports=USUAL_PORTS) as stack:
        servers = {"bootstrap": stack.bootstrap, "redis_url": stack.redis_url}
        placed = settings.model_copy(update={**servers, "state_dir": state_dir})
        await provision(placed)
        ports = metrics_ports(placed) if with_workers else {}
        pages = ", ".join(f"http://{placed.metrics_host}:{port}/metrics" for port in ports.values()) or "no metrics"
        more, console = {}, ""
        if with_console and find_spec("uvicorn") and find_spec("starlette"):
            placed, console = _console(placed)
            more["console"] = console_env(placed)
        elif with_console:
            console = "\n[dim]no console: pip install 'anomalyllm\\[console]'[/]"
        told = {**servers, "logs": stack_dir / "logs", "metrics": placed.topic("metrics"), "pages": pages}
        out.print(SNIPPETS.format(**told, console=console))
        workers = Fleet(worker_env(placed), stack_dir, ports, WORKERS if with_workers else (), more)
        nurse = Supervisor(stack, workers)
        try:
            workers.start()
            while True:
                await asyncio.sleep(CHECK_S)
                await nurse.revive()
        finally:
            await workers.stop()


class Supervisor:
    """Starts again what has died, saying so; a worker that dies again and again is given more and more time."""

    def __init__(self, stack: "EmbeddedStack", workers: "Fleet") -> None:
        self._stack = stack
        self._workers = workers
        self._next: dict[str, float] = {}  # when a dead worker may start again
        self._patience: dict[str, float] = {}

    async def revive(self) -> None:
        """One look; raises ProcessDiedError when a server does not come back."""
        if not self._stack.broker_alive:
            err.print("[yellow]the embedded broker died; starting it again, empty[/]")
            await self._stack.start_broker()
        if not self._stack.redis_alive:
            err.print("[yellow]the embedded Valkey died; starting it again with its data[/]")
            await self._stack.start_redis()
        now = time.monotonic()
        for child in self._workers.dead():
            if child.name not in self._next:
                wait_s = self._patience.get(child.name, RESTART_AFTER_S)
                self._next[child.name] = now + wait_s
                self._patience[child.name] = min(2 * wait_s, RESTART_AFTER_MAX_S)
                err.print(f"[yellow]{child.name} died[/], starting it again in {wait_s:g} s; the end of {child.log}:")
                err.print(escape(child.log_tail()))
            elif now >= self._next[child.name]:
                del self._next[child.name]
                child.start()
