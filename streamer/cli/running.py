"""Running a command's coroutine until it ends or somebody stops it, and plain output helpers."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console

from streamer.errors import ConfigError, ContractError, UnavailableError
from streamer.settings import CommandSettings, CommonSettings
from streamer.timestamps import NS, parse_timestamp

if TYPE_CHECKING:
    import redis.asyncio

T = TypeVar("T")

READING_S = 120.0  # settings and models of 100 000 streams take some seconds
_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}

out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)


def run_until_stopped(work: Coroutine[Any, Any, T]) -> T | None:
    """Run to the end, or cancel it in order on SIGINT and SIGTERM (then None); see streamer/host/signals.py."""
    from streamer.host.signals import run_until_signalled

    return run_until_signalled(work)


def ask(settings: CommandSettings, work: Coroutine[Any, Any, T]) -> T:
    """Run what a command asks of servers, to its end or to the end of `--timeout`. Raises UnavailableError, RefusedError."""

    async def limited() -> T:
        async with answering(settings):
            return await work

    return asyncio.run(limited())


@asynccontextmanager
async def answering(settings: CommandSettings) -> AsyncIterator[None]:
    """What is done in the block, with servers alone, is done within `--timeout`. Raises UnavailableError, RefusedError."""
    from streamer.kafka.client import kafka_name
    from streamer.patience import within
    from streamer.refusals import KAFKA_ERRORS, raise_if_refused

    name = kafka_name(settings)
    try:
        async with within(settings.timeout, name):
            yield
    except KAFKA_ERRORS as error:
        raise_if_refused(name, error)
        raise UnavailableError(f"{name} does not answer: {type(error).__name__}: {error}. Is it running?") from error


@asynccontextmanager
async def reached(settings: CommandSettings, client: "redis.asyncio.Redis") -> AsyncIterator[None]:
    """For what reads topics to their ends: servers have to answer within `--timeout`, the reading may take longer.

    Raises UnavailableError, RefusedError, redis.RedisError.
    """
    from streamer.kafka.client import kafka_name
    from streamer.kafka.topics import provision
    from streamer.patience import within
    from streamer.refusals import KAFKA_ERRORS, raise_if_refused

    async with answering(settings):
        await provision(settings)
        await client.ping()
    try:
        async with within(max(settings.timeout, READING_S), kafka_name(settings)):
            yield
    except KAFKA_ERRORS as error:
        raise_if_refused(kafka_name(settings), error)
        raise UnavailableError(f"{kafka_name(settings)} does not answer: {type(error).__name__}: {error}") from error


async def send_one(settings: CommonSettings, topic: str, key: str, value: bytes | None) -> None:
    """One record (None: a tombstone) to a topic of the contract."""
    from streamer.kafka.client import make_producer
    from streamer.kafka.topics import provision

    await provision(settings)
    producer = await make_producer(settings)
    try:
        await producer.send_and_wait(settings.topic(topic), value, key=key.encode())
    finally:
        await producer.stop()


@asynccontextmanager
async def redis_or_error(settings: CommonSettings) -> "AsyncIterator[redis.asyncio.Redis]":
    """A Redis client for what a command reads; it is closed at the end.

    Raises:
        UnavailableError: Redis does not answer. RefusedError: it does, and does not let us in.
    """
    import redis.asyncio

    from streamer.redis_client import make_redis, redis_name
    from streamer.refusals import raise_if_refused

    client = make_redis(settings)
    try:
        yield client
    except (redis.RedisError, redis.exceptions.RedisClusterException) as error:
        raise_if_refused(redis_name(settings), error)
        raise UnavailableError(f"{redis_name(settings)} does not answer: {error}. Is it running?") from error
    finally:
        await client.aclose()


def parse_age(text: str) -> float:
    """An age (`90s`, `15m`, `2h`, `1d`) in seconds. Raises ConfigError.

    >>> parse_age("15m")
    900.0
    """
    if text[-1:] in _UNITS_S and text[:-1].isdigit():
        return float(int(text[:-1]) * _UNITS_S[text[-1]])
    raise ConfigError(f"--since: expected an age such as 15m, 24h or 7d, got {text!r}")


def parse_since(text: str) -> datetime:
    """`now`, an age (`90s`, `15m`, `2h`, `1d`) or an RFC 3339 time stamp. Raises ConfigError."""
    if text == "now":
        return datetime.now(UTC)
    if text[-1:] in _UNITS_S and text[:-1].isdigit():
        return datetime.now(UTC) - timedelta(seconds=int(text[:-1]) * _UNITS_S[text[-1]])
    try:
        return datetime.fromtimestamp(parse_timestamp(text) / NS, UTC)
    except ContractError as error:
        raise ConfigError(f"--since: expected now, an age such as 15m or 2h, or a time: {error}") from error
