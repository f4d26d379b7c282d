"""Servers that answer and say no: what retrying cannot mend, told apart from what it can.

A password or a right does not come by itself. Whoever retries such an error stands still for ever, and looks from
outside as if it waited for a server that is away.
"""

import asyncio
import ssl

import redis.exceptions
from aiokafka import errors as kafka
from aiokafka.errors import KafkaError

from streamer.errors import RefusedError
from streamer.masking import masked

# A cluster that has lost slots, or is not to be found, is away like a server.
REDIS_ERRORS = (redis.exceptions.RedisError, redis.exceptions.RedisClusterException, OSError)
KAFKA_ERRORS = (KafkaError, OSError, asyncio.TimeoutError)

_SET_REDIS = "set user, password and database in ANOMALYLLM_REDIS_URL, or ANOMALYLLM_REDIS_USER and _PASSWORD or _PASSWORD_FILE (--redis-url, --redis-user)"
_GRANT_REDIS = "give the user of --redis-url all commands on the keys of --namespace (ACL SETUSER NAME ~NAMESPACE:* +@connection +@read +@write +@scripting)"
_SET_KAFKA = (
    "check --bootstrap and --kafka-security (ANOMALYLLM_KAFKA_SECURITY), and user, password and mechanism of its listener "
    "(ANOMALYLLM_KAFKA_USER, _PASSWORD or _PASSWORD_FILE, _MECHANISM)"
)
_GRANT_KAFKA = "grant this worker's Kafka user the right (kafka-acls --add --allow-principal User:NAME ...)"

_CURES: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    (
        (
            redis.exceptions.AuthenticationError,
            redis.exceptions.AuthenticationWrongNumberOfArgsError,
        ),
        _SET_REDIS,
    ),
    ((redis.exceptions.NoPermissionError, redis.exceptions.AuthorizationError), _GRANT_REDIS),
    (
        (
            kafka.AuthenticationFailedError,
            kafka.AuthenticationMethodNotSupported,
            kafka.SaslAuthenticationFailed,
            kafka.UnsupportedSaslMechanismError,
            kafka.IllegalSaslStateError,
            kafka.SecurityDisabled,
        ),
        _SET_KAFKA,
    ),
    (
        (
            kafka.TopicAuthorizationFailedError,
            kafka.GroupAuthorizationFailedError,
            kafka.ClusterAuthorizationFailedError,
            kafka.TransactionalIdAuthorizationFailed,
        ),
        _GRANT_KAFKA,
    ),
)
# Answers of Redis that have no class of their own: of a script, and of SELECT when a connection is made.
_CURES_BY_TEXT = (
    ("NOPERM", _GRANT_REDIS),
    ("user executing the script", _GRANT_REDIS),
    ("DB index is out of range", _SET_REDIS),
    ("invalid DB index", _SET_REDIS),
)


# What no second try changes of a handshake (OpenSSL's reasons); a connection cut in its midst is an outage.
_CURES_OF_TLS = (
    ("CERTIFICATE_VERIFY_FAILED", "give the PEM of the authority that its certificate is of (--kafka-ca-file, --redis-ca-file), and call it by a name that the certificate has"),
    ("WRONG_VERSION_NUMBER", "it speaks no TLS at this address: check the port, and --kafka-security or rediss://"),
    ("ALERT", "give a certificate that it accepts (--kafka-cert-file and --kafka-key-file, --redis-cert-file and --redis-key-file)"),
)  # fmt: skip


def refusal(server: str, error: BaseException) -> RefusedError | None:
    """What to tell a person when `error` is a refusal of `server`; None when it is anything else."""
    cure = next((cure for kinds, cure in _CURES if isinstance(error, kinds)), None)
    if cure is None and isinstance(error, ssl.SSLError):
        cure = next((cure for reason, cure in _CURES_OF_TLS if reason in (error.reason or "")), None)
    if cure is None and isinstance(error, redis.exceptions.ResponseError):
        cure = next((cure for text, cure in _CURES_BY_TEXT if text in str(error)), None)
    if cure is None:
        # A client's own error over what the server, or TLS, has said.
        inner = error.__cause__ or error.__context__
        wrapped = isinstance(error, redis.exceptions.ConnectionError | redis.exceptions.RedisClusterException)
        return refusal(server, inner) if wrapped and inner is not None else None
    text = str(error).partition("\n")[0]
    return RefusedError(masked(f"{server} refuses: {type(error).__name__}: {text}. To mend it: {cure}"))


def raise_if_refused(server: str, error: BaseException) -> None:
    """For places that go on after an error: raises RefusedError when going on cannot help."""
    refused = refusal(server, error)
    if refused is not None:
        raise refused from None
