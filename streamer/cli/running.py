"""Running a command's coroutine until it ends or somebody stops it, and plain output helpers."""

import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console

from streamer.errors import ConfigError, ContractError, UnavailableError
from streamer.settings import CommonSettings
from streamer.timestamps import NS, parse_timestamp

if TYPE_CHECKING:
    import redis.asyncio

T = TypeVar("T")

# A command typed by a person should say that nothing answers; workers wait for ever.
GIVE_UP_AFTER_S = 10.0
_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}

out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)


def only_warnings() -> None:
    """For commands that use workers' code: what it logs on its way is no part of their answer."""
    import logging

    import structlog

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def run_until_stopped(work: Coroutine[Any, Any, T]) -> T | None:
    """Run to the end, or cancel it in order on SIGINT and SIGTERM (then None); see streamer/host/signals.py."""
    from streamer.host.signals import run_until_signalled

    return run_until_signalled(work)


async def send_one(settings: CommonSettings, topic: str, key: str, value: bytes | None) -> None:
    """One record (None: a tombstone) to a topic of the contract."""
    from streamer.kafka.client import make_producer
    from streamer.kafka.topics import provision

    await provision(settings, give_up_after_s=GIVE_UP_AFTER_S)
    producer = await make_producer(settings, give_up_after_s=GIVE_UP_AFTER_S)
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
    except redis.RedisError as error:
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
