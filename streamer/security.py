"""How servers know who we are, and we them: TLS, users and secrets of Kafka and Redis, as settings.

A secret is no option of a command: process lists show those. It comes from the environment, from the file behind `--config`, or
from a file of its own (`…_FILE`), which is read at each connection, so that a rotated secret needs no restart.
"""

from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from streamer.errors import ConfigError

Mechanism = Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "OAUTHBEARER"]
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class SecuritySettings(BaseSettings):
    """Of both servers. Without any of it: plain text, and no user."""

    kafka_security: Literal["PLAINTEXT", "SSL", "SASL_SSL", "SASL_PLAINTEXT"] = Field(
        "PLAINTEXT", description="Kafka's listener: SSL is TLS, SASL a login"
    )
    kafka_mechanism: Mechanism = Field("SCRAM-SHA-512", description="how the SASL login is done")
    kafka_user: str = Field("", description="user of the SASL login; OAUTHBEARER: the client's id")
    kafka_password: SecretStr | None = Field(None, description="its password; OAUTHBEARER: the client's secret")
    kafka_password_file: Path | None = Field(None, description="file of it")
    kafka_token_url: str = Field("", description="OAUTHBEARER: where tokens are had by client id and secret (OIDC)")
    kafka_token_scope: str = Field("", description="OAUTHBEARER: the scope to ask for")
    kafka_token_file: Path | None = Field(None, description="OAUTHBEARER: file of a token that others renew")
    kafka_ca_file: Path | None = Field(
        None,
        description="PEM of authorities that Kafka's certificate (and the token URL's) may be of; none: the system's",
    )
    kafka_cert_file: Path | None = Field(None, description="PEM of our certificate for Kafka")
    kafka_key_file: Path | None = Field(None, description="PEM of its key; none: in the certificate's file")
    kafka_key_password: SecretStr | None = Field(None, description="password of the key")
    kafka_key_password_file: Path | None = Field(None, description="file of it")
    redis_user: str = Field("", description="ACL user of Redis, where the URL names none")
    redis_password: SecretStr | None = Field(None, description="its password")
    redis_password_file: Path | None = Field(None, description="file of it")
    redis_ca_file: Path | None = Field(
        None, description="PEM of authorities that the certificate of a rediss:// server may be of; none: the system's"
    )
    redis_cert_file: Path | None = Field(None, description="PEM of our certificate for Redis")
    redis_key_file: Path | None = Field(None, description="PEM of its key; none: in the certificate's file")

    redis_cluster: bool = Field(False, description="the URL is of one node of a Redis Cluster")

    @field_validator("*", mode="before")
    @classmethod
    def _nothing(cls, value: Any, info: Any) -> Any:
        """An empty variable says nothing where nothing is allowed: how a worker's parent takes a setting from it."""
        if value == "" and info.field_name in NOTHING:
            return None
        return value

    @model_validator(mode="after")
    def _together(self) -> "SecuritySettings":
        sasl, tls = self.kafka_security.startswith("SASL"), self.kafka_security.endswith("SSL")
        oauth = sasl and self.kafka_mechanism == "OAUTHBEARER"
        for name in ("kafka_password", "kafka_key_password", "redis_password"):
            if getattr(self, name) is not None and getattr(self, f"{name}_file") is not None:
                raise ValueError(f"{name} and {name}_file say the same thing: drop one of them")
        if not sasl and (
            self.kafka_user or self._given("kafka_password") or self.kafka_token_file or self.kafka_token_url
        ):
            raise ValueError(f"a login for Kafka without kafka_security SASL_SSL: it is {self.kafka_security}")
        if not tls and (self.kafka_ca_file or self.kafka_cert_file):
            raise ValueError(
                f"certificates for Kafka without kafka_security SSL or SASL_SSL: it is {self.kafka_security}"
            )
        if sasl and not oauth and not (self.kafka_user and self._given("kafka_password")):
            raise ValueError(f"{self.kafka_mechanism} needs kafka_user and kafka_password, or kafka_password_file")
        if oauth and bool(self.kafka_token_file) == bool(self.kafka_token_url):
            raise ValueError(
                "OAUTHBEARER needs kafka_token_url with kafka_user and kafka_password, or kafka_token_file"
            )
        if oauth and self.kafka_token_url:
            if not (self.kafka_user and self._given("kafka_password")):
                raise ValueError("kafka_token_url needs kafka_user and kafka_password: the client's id and its secret")
            url = urlsplit(self.kafka_token_url)
            if url.scheme != "https" and not (url.scheme == "http" and url.hostname in _LOOPBACK):
                raise ValueError("kafka_token_url is not https://…: the client's secret goes there")
        return self

    def _given(self, name: str) -> bool:
        return getattr(self, name) is not None or getattr(self, f"{name}_file") is not None

    def secret(self, name: Literal["kafka_password", "kafka_key_password", "redis_password"]) -> str | None:
        """A secret as it is now, out of its file where it has one; None when there is none. Raises ConfigError."""
        path: Path | None = getattr(self, f"{name}_file")
        if path is not None:
            return read_secret(path, f"{name}_file")
        value: SecretStr | None = getattr(self, name)
        return None if value is None else value.get_secret_value()


def read_secret(path: Path, setting: str) -> str:
    """The text of a file without its last line feed. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigError(f"{setting} (ANOMALYLLM_{setting.upper()}): {path}: {why}") from None
    return text.removesuffix("\n").removesuffix("\r")


def is_secret(field: FieldInfo) -> bool:
    """Whether a field's value must never be shown, and is no option."""
    return "SecretStr" in str(field.annotation)


# What may be None; and what it all is when a server of our own on the loopback interface is meant.
NOTHING = frozenset(n for n, field in SecuritySettings.model_fields.items() if field.default is None)
NO_SECURITY: dict[str, Any] = {name: field.default for name, field in SecuritySettings.model_fields.items()}
