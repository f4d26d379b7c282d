"""A server that says no ends a worker at once, with one line that says what to change and shows no password."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis.asyncio

from streamer.host.embedded import EmbeddedStack
from streamer.host.fleet import WORKERS
from streamer.kafka.client import make_producer
from streamer.kafka.topics import provision
from streamer.settings import CommonSettings
from testkit.processes import Command, command
from testkit.serving import PATIENCE_S, publish

PASSWORD = "c0rrect-h0rse"
WRONG = "wr0ng-h0rse"


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[tuple[EmbeddedStack, redis.asyncio.Redis]]:
    """A stack whose Redis wants a password, and a client that has it."""
    stack = EmbeddedStack(tmp_path / "stack")
    await stack.start()
    client = redis.asyncio.Redis.from_url(stack.redis_url, password=PASSWORD)
    async with redis.asyncio.Redis.from_url(stack.redis_url) as first:
        await first.config_set("requirepass", PASSWORD)
    yield stack, client
    await client.aclose()
    await stack.stop()


def _settings(stack: EmbeddedStack, tmp_path: Path, user: str) -> CommonSettings:
    url = stack.redis_url.replace("redis://", f"redis://{user}")
    return CommonSettings(bootstrap=stack.bootstrap, redis_url=url, assignment="all", state_dir=tmp_path / "state")


async def _refused(process: Command, *words: str) -> None:
    """It ends by itself, with status 1, and its last line says why."""
    async with asyncio.timeout(PATIENCE_S):
        assert await process.process.wait() == 1
    last = process.output.splitlines()[-1]
    for word in (*words, "--redis-url"):
        assert word in last, process.output
    assert "Traceback" not in process.output
    assert PASSWORD not in process.output
    assert WRONG not in process.output


@pytest.mark.parametrize("user", [f"worker:{WRONG}@", f":{WRONG}@", ""])
async def test_a_wrong_or_missing_password_ends_workers_and_commands(
    tmp_path: Path, guarded: tuple[EmbeddedStack, redis.asyncio.Redis], user: str
) -> None:
    settings = _settings(guarded[0], tmp_path, user)
    arguments = [*((room,) for room in WORKERS), ("streams", "list"), ("train", "--all")]
    if user:  # one is enough to see that a missing password is taken for the same
        arguments = arguments[:1]

    async def run(*arguments: str) -> None:
        async with command(tmp_path / arguments[0], settings, *arguments) as process:
            await _refused(process, "AuthenticationError")
            assert "waiting" not in process.output

    await asyncio.gather(*(run(*given) for given in arguments))


async def test_rights_that_are_taken_away_in_mid_work_end_a_worker(
    tmp_path: Path, guarded: tuple[EmbeddedStack, redis.asyncio.Redis]
) -> None:
    stack, client = guarded
    rights = ("on", f">{PASSWORD}", "~*", "&*", "+@all")
    await client.execute_command("ACL", "SETUSER", "worker", *rights)  # type: ignore[no-untyped-call]
    settings = _settings(stack, tmp_path, f"worker:{PASSWORD}@")
    await provision(settings)
    async with command(tmp_path, settings, "streamer") as process:
        await process.wrote("streamer ready")
        await client.execute_command("ACL", "SETUSER", "worker", "resetkeys", "~al:stats:*")  # type: ignore[no-untyped-call]
        producer = await make_producer(settings)
        rows = [[1_790_000_000_000 + k * 1000, float(k % 7)] for k in range(40)]
        await publish(producer, settings, {"stream": "a", "points": rows}, key=b"a")
        await producer.stop()
        await _refused(process, "refuses", "ACL SETUSER")
