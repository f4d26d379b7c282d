"""A library that repeats itself is heard once."""

import logging
import time

import pytest

from streamer.host.logs import REPEAT_S, RateLimit


def record(message: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord("aiokafka", logging.ERROR, __file__, 1, message, args, None)


def test_repeats_are_counted_and_the_count_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    limit = RateLimit()
    assert limit.filter(record("Unable connect to %s", "a"))
    assert not any(limit.filter(record("Unable connect to %s", "b")) for _ in range(40))
    assert limit.filter(record("something else"))
    now += REPEAT_S
    late = record("Unable connect to %s", "a")
    assert limit.filter(late)
    assert late.getMessage() == "Unable connect to a (and 40 more like it)"
