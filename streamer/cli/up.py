"""`anomalyllm up`: broker, Redis and the three workers on this machine, until Ctrl-C."""

import asyncio
import re
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from streamer.cli.options import with_settings
from streamer.cli.running import err, out, run_until_stopped
from streamer.errors import ConfigError
from streamer.masking import masked
from streamer.security import NO_SECURITY
from streamer.settings import CommonSettings, ConsoleSettings

if TYPE_CHECKING:
    from streamer.host.embedded import EmbeddedStack
    from streamer.host.fleet import Fleet
    from streamer.host.kept_tables import KeptTables

# What a Kafka and a Redis client expect when nobody tells them anything; taken if free.
USUAL_PORTS = (9092, 6379)
OWN = re.compile(r"(?:redis://)?(?:127\.0\.0\.1|localhost):([0-9]+)(?:/0?)?")  # an address that `up` can serve
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
  export ANOMALYLLM_STORE={store}
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
        connection=("bootstrap", "redis_url", "topic_prefix", "partitions", "state_dir", "store", "config"),
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
    from streamer.host.kept_tables import KeptTables
    from streamer.kafka.topics import provision

    state_dir = settings.state_dir.resolve()
    stack_dir = state_dir / "up"
    wanted = wanted_ports(settings)
    async with EmbeddedStack(stack_dir, ports=wanted) as stack:
        for what, port, address in zip(("Kafka", "Redis"), wanted, (stack.bootstrap, stack.redis_url), strict=True):
            if f":{port}" not in address:
                err.print(f"[bold red]port {port} is taken: {what} is at {address}[/]; clients must be told so")
        servers = {"bootstrap": stack.bootstrap, "redis_url": stack.redis_url}
        placed = settings.model_copy(update={**NO_SECURITY, **servers, "state_dir": state_dir})
        await provision(placed)
        kept = KeptTables(placed, stack_dir / "tables.json")
        await kept.start()
        if len(kept):
            out.print(f"settings and models of before are back: {len(kept)} records")
        ports = metrics_ports(placed) if with_workers else {}
        pages = ", ".join(f"http://{placed.metrics_host}:{port}/metrics" for port in ports.values()) or "no metrics"
        more, console = {}, ""
        if with_console and find_spec("uvicorn") and find_spec("starlette"):
            placed, console = _console(placed)
            more["console"] = console_env(placed)
        elif with_console:
            console = "\n[dim]no console: pip install 'anomalyllm\\[console]'[/]"
        places = {
            **servers,
            "store": placed.store_uri(),
            "logs": stack_dir / "logs",
            "metrics": placed.topic("metrics"),
            "pages": pages,
        }
        out.print(SNIPPETS.format(**places, console=console))
        workers = Fleet(worker_env(placed), stack_dir, ports, WORKERS if with_workers else (), more)
        nurse = Supervisor(stack, workers, placed, kept)
        try:
            workers.start()
            while True:
                await asyncio.sleep(CHECK_S)
                await nurse.revive()
                await kept.poll()
        finally:
            await workers.stop()
            await kept.stop()


def wanted_ports(settings: CommonSettings) -> tuple[int, int]:
    """Ports of Kafka and Redis that `--bootstrap` and `--redis-url` ask for.

    Raises ConfigError: they name a server that is not ours to start, or a port other than the usual that is taken.

    >>> wanted_ports(CommonSettings(bootstrap="localhost:19092"))
    (19092, 6379)
    >>> wanted_ports(CommonSettings(redis_url="redis://cache.example.com:6379/0"))
    Traceback (most recent call last):
    streamer.errors.ConfigError: `up` starts a Redis of its own on this host; redis://cache.example.com:6379/0 is another. \
Unset ANOMALYLLM_REDIS_URL, or start streamer, detector and trainer by themselves
    """
    from streamer.host.embedded import LOOPBACK, free_port

    ports = []
    for what, variable, given, usual in (
        ("Kafka", "BOOTSTRAP", settings.bootstrap, USUAL_PORTS[0]),
        ("Redis", "REDIS_URL", settings.redis_url, USUAL_PORTS[1]),
    ):
        found = OWN.fullmatch(given)
        if found is None:
            raise ConfigError(
                f"`up` starts a {what} of its own on this host; {masked(given)} is another. Unset ANOMALYLLM_{variable}, "
                "or start streamer, detector and trainer by themselves"
            )
        port = int(found[1])
        if port != usual and free_port(port) != port:
            raise ConfigError(f"port {port} of {LOOPBACK} is taken: stop who has it, or change ANOMALYLLM_{variable}")
        ports.append(port)
    return ports[0], ports[1]


class Supervisor:
    """Starts again what has died, saying so; a worker that dies again and again is given more and more time."""

    def __init__(self, stack: "EmbeddedStack", workers: "Fleet", settings: CommonSettings, kept: "KeptTables") -> None:
        self._settings = settings
        self._kept = kept
        self._stack = stack
        self._workers = workers
        self._next: dict[str, float] = {}  # when a dead worker may start again
        self._patience: dict[str, float] = {}

    async def revive(self) -> None:
        """One look; raises ProcessDiedError when a server does not come back."""
        from streamer.kafka.topics import provision

        if not self._stack.broker_alive:
            err.print("[yellow]the embedded broker died; starting it again: settings and models are put back[/]")
            await self._stack.start_broker()
            await provision(self._settings)
            await self._kept.begin_again()
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
