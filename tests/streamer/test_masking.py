"""No password is shown, wherever it comes from."""

import logging
import re

import pytest
import structlog

from streamer.cli.options import load
from streamer.errors import ConfigError
from streamer.host.logs import configure_logs
from streamer.masking import masked
from streamer.redis_client import make_redis
from streamer.settings import CommonSettings


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        ("redis://app:***@h:1/0", "redis://app:secret@h:1/0"),
        ("redis://:***@h:1/0", "redis://:secret@h:1/0"),
        ("rediss://app:***@h/0", "rediss://app:se@cr:et/secret@h/0"),
        ("redis://***@h/0", "redis://secret@h/0"),
        ("redis://h/0?password=***&db=1", "redis://h/0?password=secret&db=1"),
        ("s3://***@bucket/x, then", "s3://secret@bucket/x, then"),
        ("a redis://u:***@h/0 and http://v:***@i/", "a redis://u:secret@h/0 and http://v:secret@i/"),
        ("redis://127.0.0.1:6379/0, me@example.org", "redis://127.0.0.1:6379/0, me@example.org"),
    ],
)
def test_passwords_in_urls_are_hidden(shown: str, text: str) -> None:
    assert masked(text) == shown


@pytest.mark.parametrize("url", ["redis://:pa/ss@h:1/0", "redis://:secret@h:pass/0", "http://u:pass@h/0", "pass"])
def test_an_address_that_is_none_does_not_quote_its_password(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_redis(CommonSettings(redis_url=url))
    assert "ANOMALYLLM_REDIS_URL" in str(caught.value)
    assert not re.search("pa/ss|secret|pass@", str(caught.value))
    assert caught.value.__suppress_context__


def test_a_refused_setting_does_not_quote_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANOMALYLLM_REDIS_URL", "redis://:secret@h:1/0")
    with pytest.raises(ConfigError) as caught:
        load(CommonSettings, {"partitions": 3, "bootstrap": "kafka://u:secret@h"})
    assert "partitions must divide" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_logs_hide_passwords_in_values_messages_and_tracebacks(capfd: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = root.handlers, root.level
    try:
        configure_logs("json")
        url = "redis://u:secret@h/0"
        structlog.get_logger("a").warning("away", url=url, inside={"deep": [url]})
        logging.getLogger("b").error("cannot reach %s", url)
        try:
            raise ValueError(url)
        except ValueError:
            logging.getLogger("c").exception("failed")
    finally:
        root.handlers, root.level = before
        structlog.reset_defaults()
    written = capfd.readouterr().err
    assert len(written.splitlines()) == 3
    assert written.count("redis://u:***@h/0") >= 4
    assert "secret" not in written
