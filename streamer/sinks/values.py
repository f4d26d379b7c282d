"""Kinds of values in the sinks' file: durations, secrets, addresses, hours of a day."""

import os
import re
from datetime import time
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, SecretStr

_DURATION = re.compile(r"^(\d+(?:\.\d+)?)(ms|s|m|h|d)$")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


def _duration(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    else:
        match = _DURATION.match(value.strip()) if isinstance(value, str) else None
        if match is None:
            raise ValueError('expected a duration such as "30s", "5m", "24h", "7d", or a number of seconds')
        seconds = float(match[1]) * _SECONDS[match[2]]
    if not 0 < seconds < 366 * 86_400:
        raise ValueError("a duration lies above 0 and below a year")
    return seconds


def _secret(value: Any) -> SecretStr:
    """From `{ env = "NAME" }` or `{ file = "PATH" }`."""
    if isinstance(value, SecretStr):
        return value
    if not isinstance(value, dict) or len(value) != 1 or not isinstance(source := next(iter(value.values())), str):
        raise ValueError('a secret is not written here: give { env = "NAME" } or { file = "PATH" }')
    kind = next(iter(value))
    if kind == "env":
        text = os.environ.get(source)
        if text is None:
            raise ValueError(f"the environment variable {source} is not set")
    elif kind == "file":
        try:
            text = Path(source).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"cannot read the secret from {source}: {type(error).__name__}") from None
    else:
        raise ValueError('a secret comes from { env = "NAME" } or { file = "PATH" }')
    text = text.strip()
    if not text or "\n" in text:
        raise ValueError(f"the secret in {kind} {source} is empty or has several lines")
    return SecretStr(text)


def _text_or_secret(value: Any) -> SecretStr:
    return SecretStr(value) if isinstance(value, str) else _secret(value)


def _http(value: SecretStr) -> SecretStr:
    parts = urlsplit(value.get_secret_value())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected an address that begins with http:// or https://")
    return value


def _clock(value: Any) -> time:
    if not isinstance(value, str) or not re.match(r"^\d\d:\d\d$", value):
        raise ValueError('expected a time of day such as "22:00"')
    return time.fromisoformat(value)


def _zone(value: Any) -> ZoneInfo:
    if isinstance(value, ZoneInfo):
        return value
    try:
        return ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        raise ValueError(f"{value!r} is not a time zone such as Europe/Berlin or UTC") from None


Duration = Annotated[float, BeforeValidator(_duration)]
Secret = Annotated[SecretStr, BeforeValidator(_secret)]
TextOrSecret = Annotated[SecretStr, BeforeValidator(_text_or_secret)]
Url = Annotated[SecretStr, BeforeValidator(_text_or_secret), AfterValidator(_http)]
SecretUrl = Annotated[SecretStr, BeforeValidator(_secret), AfterValidator(_http)]
Clock = Annotated[time, BeforeValidator(_clock)]
Zone = Annotated[ZoneInfo, BeforeValidator(_zone)]
