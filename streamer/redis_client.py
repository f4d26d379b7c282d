"""The Redis client as this project uses it: notices a server that hangs, and shows no password."""

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from streamer.errors import ConfigError
from streamer.masking import masked
from streamer.settings import CommonSettings

# A server that accepts and never answers counts as away after this; our largest call takes some 100 ms.
TIMEOUT_S = 5.0
# Once, at once: a pooled connection may have been closed by the server. Everything longer is `patiently`'s.
RETRIES = 1


def make_redis(settings: CommonSettings) -> redis.asyncio.Redis:
    """A client; connects when it is first used. Raises ConfigError when the URL is none."""
    try:
        return redis.asyncio.Redis.from_url(
            settings.redis_url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), RETRIES),
        )
    except ValueError:  # its text may quote a part of the password
        raise ConfigError(
            f"--redis-url (ANOMALYLLM_REDIS_URL) is not a Redis URL: {masked(settings.redis_url)}. Expected "
            "redis://HOST:PORT/DB; user and password go before the host, percent-encoded, as USER:PASSWORD@"
        ) from None


def redis_name(settings: CommonSettings) -> str:
    """The server as logs and errors name it."""
    return masked(f"Redis at {settings.redis_url}")
