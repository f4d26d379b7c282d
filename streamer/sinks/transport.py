"""What every sink's protocol has, and HTTP as all of them use it: an answer is a success, a wait or a refusal."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar

import httpx
from pydantic import SecretStr

from streamer.sinks.errors import (
    MessageFailedError,
    MessageRefusedError,
    SinkAwayError,
    SinkLockedOutError,
)
from streamer.sinks.planning import Message
from streamer.sinks.wording import cut

AWAY = frozenset({429, 502, 503, 504})
LOCKED_OUT = frozenset({301, 302, 303, 307, 308, 401, 403, 404, 405, 407, 410})
MOST_RETRY_AFTER_S = 3_600.0
# Both write whole addresses into their logs, and addresses of Slack and webhooks are secrets.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said. `memos` is what the protocol wants to remember, by incident id."""

    text: str
    memos: dict[str, dict[str, Any]] = field(default_factory=dict)


class Transport:
    """One protocol towards one server. Subclasses say what the server does by itself, and implement `send`."""

    stateful: ClassVar[bool] = False  # the server keeps an incident's life
    batch: ClassVar[int] = 1  # incidents a call, where the server groups by itself
    acknowledges: ClassVar[bool] = False
    parallel: ClassVar[int] = 8  # calls at a time
    repost_s: float | None = None

    async def send(self, message: Message) -> Answer:
        """Deliver it.

        Raises:
            SinkAwayError, SinkLockedOutError, MessageFailedError, MessageRefusedError: see there.
        """
        raise NotImplementedError

    async def aclose(self) -> None:
        """Let connections go."""


class Http:
    """A client that never shows a secret in what it raises."""

    def __init__(self, timeout_s: float, secrets: Iterable[SecretStr] = ()) -> None:
        self._timeout_s = timeout_s
        self._client = httpx.AsyncClient(timeout=None, headers={"User-Agent": "anomalyllm"})
        self._secrets = sorted((s.get_secret_value() for s in secrets), key=len, reverse=True)

    async def post(
        self, url: str, *, headers: Mapping[str, str] | None = None, method: str = "POST", **body: Any
    ) -> str:
        """Send (`json=` or `content=`); returns status and text of a 2xx answer, raises for every other end."""
        try:
            async with asyncio.timeout(self._timeout_s):  # httpx's own is for each step, and may never be over
                response = await self._client.request(method, url, headers=headers, **body)
        except TimeoutError:
            raise SinkAwayError(f"no answer within {self._timeout_s:g} s") from None
        except httpx.TransportError as error:
            raise SinkAwayError(self._clean(f"no answer: {type(error).__name__}: {error}")) from None
        except (httpx.InvalidURL, httpx.HTTPError, ValueError) as error:
            raise SinkLockedOutError(self._clean(f"{type(error).__name__}: {error}")) from None
        text = self._clean(cut(f"HTTP {response.status_code} {response.text.strip()}".strip(), 300))
        status = response.status_code
        if response.is_success:
            return text
        if status in AWAY:
            raise SinkAwayError(text, retry_after(response.headers.get("Retry-After"), datetime.now(UTC)))
        if status in LOCKED_OUT:
            raise SinkLockedOutError(text)
        if status == 408 or status >= 500:
            raise MessageFailedError(text)
        raise MessageRefusedError(text)

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    async def aclose(self) -> None:
        """Close connections."""
        await self._client.aclose()


def retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds to wait by Retry-After (RFC 9110, 10.2.3: seconds or a date), an hour at most; None where it says nothing."""
    if header is None:
        return None
    text = header.strip()
    if text.isdigit():
        return min(float(text), MOST_RETRY_AFTER_S)
    try:
        then = parsedate_to_datetime(text)
    except ValueError:
        return None
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return min(max(0.0, (then - now).total_seconds()), MOST_RETRY_AFTER_S)


def plain(headers: Mapping[str, SecretStr]) -> dict[str, str]:
    """Headers as they are sent."""
    return {name: value.get_secret_value() for name, value in headers.items()}
