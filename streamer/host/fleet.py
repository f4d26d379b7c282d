"""The three workers as child processes, by the same entry points as in production, set by the environment."""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import SecretStr

from streamer.host.embedded import free_port
from streamer.host.processes import Child
from streamer.security import NO_SECURITY
from streamer.settings import CommonSettings, ConsoleSettings

WORKERS = ("streamer", "detector", "trainer")
# The first of three ports of `up`, one a worker: what Prometheus exporters of OpenTelemetry listen on.
METRICS_PORT = 9464


def worker_env(settings: CommonSettings) -> dict[str, str]:
    """The environment variables by which a worker comes to the same common settings.

    One process of each kind owns all partitions: joining a group would only cost start-up time.
    """
    own = set(CommonSettings.model_fields) - {"worker_name", "log_format", "metrics_port"}
    fields = settings.model_dump(mode="json", include=own, exclude_none=True)
    fields["assignment"] = "all"
    # An empty variable hides one of our own environment, which the worker inherits: embedded servers want no login.
    for name in NO_SECURITY:
        value = getattr(settings, name)
        fields[name] = value.get_secret_value() if isinstance(value, SecretStr) else "" if value is None else value
    return {f"ANOMALYLLM_{name.upper()}": str(value) for name, value in fields.items()}


def console_env(settings: ConsoleSettings) -> dict[str, str]:
    """The same of the console, with its address and token."""
    own = set(ConsoleSettings.model_fields) - set(CommonSettings.model_fields)
    fields = settings.model_dump(mode="json", include=own)
    return {**worker_env(settings), **{f"ANOMALYLLM_{name.upper()}": str(value) for name, value in fields.items()}}


def metrics_ports(settings: CommonSettings) -> dict[str, int]:
    """A port for each worker's metrics: those from `metrics_port` on, or free ones from `METRICS_PORT` on; none at 0."""
    if settings.metrics_port == 0:
        return {}
    if settings.metrics_port is not None:
        return {name: settings.metrics_port + place for place, name in enumerate(WORKERS)}
    return {name: free_port(METRICS_PORT + place) for place, name in enumerate(WORKERS)}


class Fleet:
    """Workers as processes: `start`, `stop` (they drain and commit), `check`."""

    def __init__(
        self,
        env: Mapping[str, str],
        state_dir: Path,
        metrics_ports: Mapping[str, int] | None = None,
        names: Sequence[str] = WORKERS,
        more: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        """`metrics_ports`: of each worker that shows metrics; `names`: which workers; `more`: other verbs, with their environment."""
        ports = metrics_ports or {}
        # One thread a process: three of them share the cores with the servers, and nested thread pools
        # that fight over two cores are many times slower than one thread.
        inherited = {"OMP_NUM_THREADS": "1", **os.environ}
        verbs = {name: (f"the {name} worker", env) for name in names}
        verbs |= {name: (f"the {name}", own) for name, own in (more or {}).items()}
        self._children = [
            Child(
                called,
                [sys.executable, "-m", "streamer.cli", name],
                state_dir / "logs" / f"{name}.log",
                env={**inherited, **own, "ANOMALYLLM_METRICS_PORT": str(ports.get(name, 0))},
            )
            for name, (called, own) in verbs.items()
        ]
        self._started = False

    def start(self) -> None:
        """Start all of them; they wait for broker and Redis by themselves."""
        self._started = True
        for child in self._children:
            child.start()

    def dead(self) -> list[Child]:
        """Those that were started and do not run."""
        return [child for child in self._children if self._started and not child.alive]

    def check(self) -> None:
        """Raise ProcessDiedError if one has ended by itself."""
        for child in self._children:
            child.check()

    async def stop(self) -> None:
        """Ask all to drain and end; what does not within a few seconds is killed."""
        await asyncio.gather(*(child.stop() for child in self._children))
