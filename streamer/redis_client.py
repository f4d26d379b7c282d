"""The Redis client as this project uses it: notices a server that hangs, and shows no password.

`--redis-cluster`: a cluster's client. Keys of a shard carry its hash tag (streamer/windows/keys.py), so that what has to be one
call lies in one slot; pipelines are split by node.
"""

from typing import Any, cast

import redis.asyncio
from redis.asyncio.client import Pipeline
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider

from streamer.errors import ConfigError
from streamer.masking import masked
from streamer.settings import CommonSettings

# A server that accepts and never answers counts as away after this; our largest call takes some 100 ms.
TIMEOUT_S = 5.0
# Once, at once: a pooled connection may have been closed by the server. Everything longer is `patiently`'s.
RETRIES = 1
# A cluster's client asks again where a slot has moved to: the moves of one failover, not the wait for it.
CLUSTER_RETRIES = 3


class _Login(CredentialProvider):
    """User and password as they are at each connection: a rotated file needs no restart."""

    def __init__(self, settings: CommonSettings, user: str) -> None:
        self._settings = settings
        self._user = user

    def get_credentials(self) -> tuple[str, str] | tuple[str]:
        password = self._settings.secret("redis_password") or ""
        return (self._user, password) if self._user else (password,)

    async def get_credentials_async(self) -> tuple[str, str] | tuple[str]:
        return self.get_credentials()


def make_redis(settings: CommonSettings) -> redis.asyncio.Redis:
    """A client; connects when it is first used. Raises ConfigError when URL, login and certificates are not usable."""
    try:
        url = parse_url(settings.redis_url)
    except ValueError:  # its text may quote a part of the password
        raise ConfigError(
            f"--redis-url (ANOMALYLLM_REDIS_URL) is not a Redis URL: {masked(settings.redis_url)}. Expected "
            "redis://HOST:PORT/DB, or rediss:// for TLS; user and password go before the host, percent-encoded, as "
            "USER:PASSWORD@"
        ) from None
    given: dict[str, Any] = {
        "socket_timeout": TIMEOUT_S,
        "socket_connect_timeout": TIMEOUT_S,
        "retry": Retry(NoBackoff(), RETRIES),
        **_login(settings, url.get("username"), url.get("password")),
        **_tls(settings),
    }
    if not settings.redis_cluster:
        return redis.asyncio.Redis.from_url(settings.redis_url, **given)
    if url.get("db"):
        raise ConfigError("--redis-cluster: a cluster has database 0 alone; take the number out of --redis-url")
    cluster = RedisCluster.from_url(settings.redis_url, **{**given, "retry": Retry(NoBackoff(), CLUSTER_RETRIES)})
    # Not a subclass, but the same commands: workers ask for no others.
    return cast("redis.asyncio.Redis", cluster)


def is_cluster(client: redis.asyncio.Redis) -> bool:
    """Whether several shards cannot be written in one call."""
    return isinstance(client, RedisCluster)


def read_together(pipe: Pipeline, *keys: str) -> None:
    """MGET of keys of one shard: all as they were at one moment. A cluster's pipeline refuses it under its own name."""
    pipe.execute_command("MGET", *keys)


def redis_name(settings: CommonSettings) -> str:
    """The server as logs and errors name it."""
    return masked(f"Redis at {settings.redis_url}")


def _login(settings: CommonSettings, user: str | None, password: str | None) -> dict[str, Any]:
    own = settings.redis_password is not None or settings.redis_password_file is not None
    if password and own:
        raise ConfigError("a password in --redis-url and in ANOMALYLLM_REDIS_PASSWORD (or _FILE): drop one of them")
    if user and settings.redis_user:
        raise ConfigError("a user in --redis-url and in --redis-user: drop one of them")
    if not own:
        return {"username": settings.redis_user} if settings.redis_user else {}
    if user:
        raise ConfigError("a user in --redis-url with a password apart from it: say the user by --redis-user")
    settings.secret("redis_password")  # a file that is not there is said at the start
    return {"credential_provider": _Login(settings, settings.redis_user)}


def _tls(settings: CommonSettings) -> dict[str, Any]:
    files = {
        "ssl_ca_certs": settings.redis_ca_file,
        "ssl_certfile": settings.redis_cert_file,
        "ssl_keyfile": settings.redis_key_file or settings.redis_cert_file,
    }
    given = {name: str(path) for name, path in files.items() if path is not None}
    if not settings.redis_url.startswith("rediss://"):
        if given:
            raise ConfigError("certificates for Redis, and a --redis-url without TLS: write rediss://")
        return {}
    for path in given.values():
        try:
            open(path, "rb").close()
        except OSError as error:
            raise ConfigError(
                f"{path}: {error.strerror}. Check redis_ca_file, redis_cert_file, redis_key_file"
            ) from None
    return {**given, "ssl_cert_reqs": "required", "ssl_check_hostname": True}
