"""Redis or Valkey: whether it answers, may be written, keeps what it is given, and has the right time."""

import time
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError

from streamer.doctor.findings import Finding, bad, ok, warn
from streamer.redis_client import make_redis, redis_name
from streamer.refusals import raise_if_refused
from streamer.settings import CommonSettings

CLOCK_S = 2.0
FULL_SHARE = 0.8
OLDEST = (6, 2)
SLOW_S = 0.02


async def check_redis(settings: CommonSettings) -> list[Finding]:
    """All findings. Raises RedisError, RefusedError where it does not answer."""
    client = make_redis(settings)
    try:
        begin = time.monotonic()
        await client.ping()
        took = time.monotonic() - begin
        answer = await client.info()
        return [*_server(settings, answer, took), await _writes(settings, client), await _clock(client)]
    except RedisError as error:
        raise_if_refused(redis_name(settings), error)
        raise
    finally:
        await client.aclose()


def _server(settings: CommonSettings, answer: dict[str, Any], took: float) -> list[Finding]:
    version = str(answer.get("valkey_version") or answer["redis_version"])
    text = f"{redis_name(settings)}: version {version}, answers in {took * 1000:.1f} ms"
    found = [
        warn("Redis", text, "Put it near the workers: every batch waits for a write.")
        if took > SLOW_S
        else ok("Redis", text)
    ]
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        found.append(bad("Redis", f"version {version} is too old", "Take Redis 6.2 or later, or Valkey."))
    policy, limit, used = (
        answer.get("maxmemory_policy", "noeviction"),
        int(answer.get("maxmemory", 0)),
        int(answer["used_memory"]),
    )
    if limit and policy != "noeviction":
        found.append(
            bad(
                "Redis memory", f"maxmemory-policy is {policy}: it throws windows away when it is full",
                "CONFIG SET maxmemory-policy noeviction",
            )
        )  # fmt: skip
    if limit and used > FULL_SHARE * limit:
        found.append(
            warn(
                "Redis memory", f"{used / limit:.0%} of maxmemory is used",
                "Raise maxmemory, lower --capacity, or delete streams (a stream takes 64 KB a channel).",
            )
        )  # fmt: skip
    if not answer.get("aof_enabled"):
        found.append(
            warn(
                "Redis persistence", "it keeps no append-only file: what is written since its last snapshot goes with it",
                "CONFIG SET appendonly yes, appendfsync everysec; windows are otherwise rebuilt from what `metrics` still holds.",
            )
        )  # fmt: skip
    return found


async def _writes(settings: CommonSettings, client: redis.asyncio.Redis) -> Finding:
    """The commands that workers need, on a key of the namespace that is gone a moment later."""
    key = f"{settings.namespace}:{{0}}:doctor"
    await client.set(key, b"1", ex=5)
    reply = await client.eval("return redis.call('GET', KEYS[1])", 1, key)
    await client.delete(key)
    if reply != b"1":
        return bad(
            "Redis rights", f"a script read {reply!r} of what was just written", "Is this a replica? Use its primary."
        )
    return ok("Redis rights", f"keys of {settings.namespace}: can be written, scripts run")


async def _clock(client: redis.asyncio.Redis) -> Finding:
    seconds, micros = await client.time()
    off = seconds + micros / 1e6 - time.time()
    if abs(off) > CLOCK_S:
        return warn(
            "clock", f"the clock of Redis' host and this one's are {abs(off):.1f} s apart",
            "Let a time service (chrony, systemd-timesyncd) keep both.",
        )  # fmt: skip
    return ok("clock", f"within {abs(off):.2f} s of Redis' host")
