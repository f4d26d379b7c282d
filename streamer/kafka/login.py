"""What a Kafka client is given to be let in: TLS, user and password, or a token."""

import asyncio
import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from base64 import b64encode
from pathlib import Path
from typing import Any

import aiokafka.conn
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import AuthenticationFailedError, KafkaConnectionError

from streamer.errors import ConfigError
from streamer.security import SecuritySettings, read_secret

TOKEN_TIMEOUT_S = 10.0
# A token is used for this part of its life; one without a stated life for a minute.
USED_SHARE, UNSTATED_S = 0.8, 60.0


def login(settings: SecuritySettings) -> dict[str, Any]:
    """Arguments of every aiokafka client beside its servers. Raises ConfigError: a file that cannot be read."""
    given: dict[str, Any] = {"security_protocol": settings.kafka_security}
    if settings.kafka_security.endswith("SSL"):
        password = settings.secret("kafka_key_password")
        given["ssl_context"] = tls_context(
            "kafka", settings.kafka_ca_file, settings.kafka_cert_file, settings.kafka_key_file, password
        )
    if settings.kafka_security.startswith("SASL"):
        given["sasl_mechanism"] = settings.kafka_mechanism
        if settings.kafka_mechanism == "OAUTHBEARER":
            given["sasl_oauth_token_provider"] = Tokens(settings)
        else:
            given["sasl_plain_username"] = settings.kafka_user
            given["sasl_plain_password"] = settings.secret("kafka_password")
    return given


def tls_context(
    server: str, ca: Path | None, cert: Path | None = None, key: Path | None = None, password: str | None = None
) -> ssl.SSLContext:
    """Host names and certificates are always checked. Raises ConfigError: a file that is not what it should be."""
    try:
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
        if cert is not None:
            # A function: without it OpenSSL asks at the terminal for the password of a key that has one.
            context.load_cert_chain(str(cert), None if key is None else str(key), lambda: password or "")
    except OSError as error:  # ssl.SSLError is one
        files = f"{server}_ca_file, {server}_cert_file, {server}_key_file and the key's password"
        names = ", ".join(str(path) for path in (ca, cert, key) if path is not None)
        raise ConfigError(f"{names}: {error.strerror or error}. Check {files}") from None
    return context


class _TokenLogin(aiokafka.conn.OAuthAuthenticator):  # type: ignore[misc]  # aiokafka is untyped
    """A broker answers a token that it does not accept with text (RFC 7628, section 3.2.2), which aiokafka 0.14 overlooks.

    It would send requests over a connection that the broker has not let in, and wait for brokers for ever.
    """

    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        """What to send next, None when the login is done. Raises AuthenticationFailedError."""
        if self._token_sent and payload:
            refusal = payload.decode(errors="replace")[:200]
            raise AuthenticationFailedError(f"the token is not accepted: {refusal}")
        answer: tuple[bytes, bool] | None = await super().step(payload)
        return answer


aiokafka.conn.OAuthAuthenticator = _TokenLogin


class Tokens(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka is untyped
    """Bearer tokens: out of a file at each login, or by client credentials (RFC 6749, section 4.4), renewed in time.

    Its errors are Kafka's, for aiokafka takes no others: AuthenticationFailedError when the token's server says no,
    KafkaConnectionError while it is away.
    """

    def __init__(self, settings: SecuritySettings) -> None:
        self._settings = settings
        self._token = ""
        self._until = 0.0
        self._lock = asyncio.Lock()

    async def token(self) -> str:
        """A token that is good now."""
        path = self._settings.kafka_token_file
        if path is not None:
            try:
                return read_secret(path, "kafka_token_file").strip()
            except ConfigError as error:
                raise AuthenticationFailedError(str(error)) from None
        async with self._lock:
            if time.monotonic() >= self._until:
                began = time.monotonic()
                self._token, life_s = await asyncio.to_thread(self._ask)
                self._until = began + USED_SHARE * life_s
            return self._token

    def _ask(self) -> tuple[str, float]:
        settings = self._settings
        url = settings.kafka_token_url
        form = {"grant_type": "client_credentials"} | (
            {"scope": settings.kafka_token_scope} if settings.kafka_token_scope else {}
        )
        try:
            # RFC 6749, section 2.3.1: id and secret are form-encoded before they are put together.
            pair = ":".join(
                map(urllib.parse.quote_plus, (settings.kafka_user, settings.secret("kafka_password") or ""))
            )
            context = tls_context("kafka", settings.kafka_ca_file) if url.startswith("https:") else None
        except ConfigError as error:
            raise AuthenticationFailedError(str(error)) from None
        request = urllib.request.Request(
            url,
            urllib.parse.urlencode(form).encode(),
            {"Authorization": f"Basic {b64encode(pair.encode()).decode()}", "Accept": "application/json"},
        )
        where = f"the token server {urllib.parse.urlsplit(url).hostname}"
        try:
            with urllib.request.urlopen(request, timeout=TOKEN_TIMEOUT_S, context=context) as answer:
                body = json.load(answer)
            return str(body["access_token"]), float(body.get("expires_in", UNSTATED_S))
        except urllib.error.HTTPError as error:
            error.close()
            if error.code < 500 and error.code not in (408, 429):
                raise AuthenticationFailedError(f"{where} refuses: {error.code} {error.reason}") from None
            raise KafkaConnectionError(f"{where} answers {error.code} {error.reason}") from None
        except (OSError, TimeoutError) as error:
            raise KafkaConnectionError(f"{where} does not answer: {error}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise AuthenticationFailedError(f"{where} gives no token: {type(error).__name__}: {error}") from None
