"""Where a replay plays: servers, topics and keys of its own, and the three workers; all of it gone at the end."""

import asyncio
import tempfile
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import redis.asyncio
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code

from streamer.contracts import TOPICS
from streamer.host.embedded import EmbeddedStack
from streamer.host.fleet import Fleet, worker_env
from streamer.kafka.client import make_admin
from streamer.kafka.topics import provision
from streamer.redis_client import make_redis
from streamer.security import NO_SECURITY
from streamer.settings import CommandSettings

ADMIN_MS = 20_000
KEYS_A_CALL = 500
AHEAD_S = "1e9"  # data of a simulation may lie in the future


@dataclass(frozen=True)
class Stage:
    """What is there while it plays."""

    settings: CommandSettings  # of the replay: its servers, prefix, namespace and folder
    workers: Fleet
    redis: redis.asyncio.Redis
    admin: AIOKafkaAdminClient


@asynccontextmanager
async def stage(settings: CommandSettings, embedded: bool, own: dict[str, str], keep: bool) -> AsyncIterator[Stage]:
    """Start servers; the workers are the caller's to start. `own`: settings of workers by name; `keep`: topics, keys and models stay.

    Raises ConfigError, UnavailableError, RefusedError, ProcessDiedError.
    """
    name = f"replay.{uuid.uuid4().hex[:8]}."
    async with AsyncExitStack() as leave:
        if keep:
            folder = settings.state_dir.resolve() / name.strip(".")
            folder.mkdir(parents=True, exist_ok=True)
        else:
            folder = Path(
                leave.enter_context(tempfile.TemporaryDirectory(prefix="anomalyllm-", ignore_cleanup_errors=True))
            )
        placed = settings.model_copy(
            update={
                "topic_prefix": settings.topic_prefix + name,
                "namespace": f"{settings.namespace}.{name.strip('.')}",
                "state_dir": folder,
                "store": str(folder / "models"),
                "assignment": "all",
            }
        )
        if embedded:
            stack = await leave.enter_async_context(EmbeddedStack(folder / "servers"))
            servers = {**NO_SECURITY, "bootstrap": stack.bootstrap, "redis_url": stack.redis_url}
            placed = placed.model_copy(update=servers)
        client = make_redis(placed)
        leave.push_async_callback(client.aclose)
        await provision(placed, placed.timeout)
        admin = await make_admin(placed, ADMIN_MS)
        leave.push_async_callback(admin.close)
        if not embedded and not keep:
            leave.push_async_callback(clear, placed, admin, client)
        # A source of the real streamer would be bridged into the replay.
        env = {"default_ttl_s": "0", "marks": "false", "max_ahead_s": AHEAD_S, "source": "", "source_name": "", **own}
        workers = Fleet(worker_env(placed) | {f"ANOMALYLLM_{k.upper()}": v for k, v in env.items()}, folder)
        leave.push_async_callback(workers.stop)
        yield Stage(placed, workers, client, admin)


async def clear(settings: CommandSettings, admin: AIOKafkaAdminClient, client: redis.asyncio.Redis) -> None:
    """Delete topics and keys of a replay, even where the command is being stopped. Raises KafkaError, RedisError."""
    assert "replay." in settings.topic_prefix
    assert ".replay." in settings.namespace

    async def delete() -> None:
        reply = await admin.delete_topics([settings.topic(topic) for topic in TOPICS])
        for topic, code in reply.topic_error_codes:
            if code:
                raise for_code(code)(topic)
        found = [key async for key in client.scan_iter(match=f"{settings.namespace}:*", count=KEYS_A_CALL)]
        for key in found:  # one by one: on a cluster they lie in different slots
            await client.unlink(key)

    await asyncio.shield(delete())
