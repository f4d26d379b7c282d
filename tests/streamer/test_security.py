"""Settings of logins: what belongs together, and that no secret is seen."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from streamer.cli.options import load
from streamer.cli.root import build_app
from streamer.errors import ConfigError
from streamer.host.fleet import worker_env
from streamer.kafka.client import connection
from streamer.security import NO_SECURITY
from streamer.settings import CommonSettings, StreamerSettings

SECRET = "open-sesame"
LOGIN: dict[str, Any] = {"kafka_security": "SASL_SSL", "kafka_user": "me"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kafka_user": "me", "kafka_password": SECRET}, "without kafka_security"),
        ({"kafka_ca_file": "ca.pem"}, "certificates for Kafka without"),
        ({"kafka_security": "SASL_SSL"}, "needs kafka_user and kafka_password"),
        ({**LOGIN, "kafka_password": SECRET, "kafka_password_file": "x"}, "say the same thing"),
        ({**LOGIN, "kafka_mechanism": "OAUTHBEARER"}, "OAUTHBEARER needs"),
        (
            {**LOGIN, "kafka_mechanism": "OAUTHBEARER", "kafka_token_url": "http://idp/t", "kafka_password": SECRET},
            "is not https",
        ),
        ({**LOGIN, "kafka_mechanism": "OAUTHBEARER", "kafka_token_url": "https://idp/t"}, "the client's id"),
    ],
)
def test_what_does_not_belong_together_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        load(CommonSettings, given)
    assert SECRET not in str(caught.value)
    with pytest.raises(ValidationError):
        CommonSettings(**given)


def test_a_secret_s_file_is_read_at_each_connection(tmp_path: Path) -> None:
    file = tmp_path / "password"
    settings = CommonSettings(**LOGIN, kafka_password_file=file)
    with pytest.raises(ConfigError, match="ANOMALYLLM_KAFKA_PASSWORD_FILE"):
        connection(settings)
    for password in (SECRET, "another one"):
        file.write_text(password + "\n")
        assert connection(settings)["sasl_plain_password"] == password


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("nothing")
    with pytest.raises(ConfigError, match=r"ca\.pem.*kafka_ca_file"):
        connection(CommonSettings(kafka_security="SSL", kafka_ca_file=file))


def test_a_secret_is_in_no_help_no_text_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KAFKA_PASSWORD", "KAFKA_KEY_PASSWORD", "REDIS_PASSWORD"):
        monkeypatch.setenv(f"ANOMALYLLM_{name}", SECRET)
    for command in ("streamer", "alerts"):
        shown = CliRunner().invoke(build_app(), [command, "--help-all"], env={"COLUMNS": "200"}).output
        assert SECRET not in shown
        assert "--kafka-password-file" in shown
        assert "--kafka-password " not in shown
    with pytest.raises(ConfigError) as caught:
        load(CommonSettings, {})  # a password, and no SASL
    assert SECRET not in str(caught.value)
    settings = CommonSettings(**LOGIN)
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert settings.secret("redis_password") == SECRET


@pytest.mark.parametrize("before", [True, False])
def test_a_password_on_the_command_line_is_refused(before: bool) -> None:
    given = ["--redis-url", f"redis://me:{SECRET}@localhost:1/0"]
    arguments = [*given, "streams", "list"] if before else ["streams", "list", *given]
    result = CliRunner().invoke(build_app(), arguments)
    assert isinstance(result.exception, ConfigError)
    assert "ANOMALYLLM_REDIS_URL" in str(result.exception)
    assert SECRET not in str(result.exception)


def test_children_are_given_the_same_login_and_embedded_servers_none(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = CommonSettings(**LOGIN, kafka_password=SECRET, worker_name="w")
    for chosen, password in ((settings, SECRET), (settings.model_copy(update=NO_SECURITY), None)):
        monkeypatch.setenv("ANOMALYLLM_KAFKA_PASSWORD", "of the parent's own environment")
        for name, value in worker_env(chosen).items():
            monkeypatch.setenv(name, value)
        child = StreamerSettings()
        assert child.secret("kafka_password") == password
        assert child.kafka_security == chosen.kafka_security
