"""TLS, client certificates, SCRAM, bearer tokens and least rights, against a real Apache Kafka with an authorizer."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import psutil
import pytest
from pydantic import SecretStr

from streamer.errors import AnomalyLLMError, RefusedError
from streamer.host.embedded import LOOPBACK, EmbeddedStack
from streamer.host.fleet import WORKERS
from streamer.kafka.client import make_consumer, make_producer
from streamer.kafka.rights import commands, rights
from streamer.kafka.topics import provision
from streamer.settings import CommonSettings
from testkit.certificates import Certificates
from testkit.ports import lasting_port
from testkit.processes import command, run_command
from testkit.real_kafka import RealKafka
from testkit.serving import PATIENCE_S, publish, read_all, until
from tests.conftest import REAL_KAFKA

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.skipif(not REAL_KAFKA, reason="the embedded broker has no TLS and knows no users (make test-kafka)"),
]
PASSWORD = "r1ght-h0rse"
KEY_PASSWORD = "k3y-h0rse"
MORE = """
listeners=PLAINTEXT://{host}:{plain},SSL://{host}:{tls},SASL_SSL://{host}:{sasl},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{plain},SSL://{host}:{tls},SASL_SSL://{host}:{sasl}
controller.quorum.bootstrap.servers={host}:{controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location={files.server}
ssl.truststore.type=PEM
ssl.truststore.location={files.ca}
listener.name.ssl.ssl.client.auth=required
ssl.principal.mapping.rules=RULE:^.*CN=([^,]+).*$/$1/,DEFAULT
sasl.enabled.mechanisms=SCRAM-SHA-512,SCRAM-SHA-256,OAUTHBEARER
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:admin
"""


class Guarded(NamedTuple):
    """A broker with four doors, and what opens them."""

    kafka: RealKafka
    stack: EmbeddedStack
    files: Certificates
    tls: str
    sasl: str

    def settings(self, door: str, **more: Any) -> CommonSettings:
        """Of the user `admin`, by one door."""
        return CommonSettings(
            bootstrap=self.tls if door == "SSL" else self.sasl,
            redis_url=self.stack.redis_url,
            kafka_security=door,
            kafka_ca_file=self.files.ca,
            **more,
        )


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """One broker for all tests of this module."""
    folder: Path = tmp_path_factory.mktemp("guarded")
    files = Certificates(folder / "certificates")
    plain, tls, sasl = lasting_port(), lasting_port(), lasting_port()
    more = MORE.format(host=LOOPBACK, plain=plain, tls=tls, sasl=sasl, controller=lasting_port(), files=files)
    users = dict.fromkeys(("admin", *(f"al-{name}" for name in (*WORKERS, "operator"))), PASSWORD)
    kafka = RealKafka(folder / "kafka", more=more, port=plain, users=users)
    stack = EmbeddedStack(folder, broker=kafka)
    asyncio.run(stack.start())
    yield Guarded(kafka, stack, files, f"{LOOPBACK}:{tls}", f"{LOOPBACK}:{sasl}")
    asyncio.run(stack.stop())


@pytest.fixture(autouse=True)
async def _all_is_closed(guarded: Guarded) -> AsyncIterator[None]:
    """TLS says goodbye after a client has closed: a loop that ends before has left a socket open."""
    yield
    doors = {int(door.rpartition(":")[2]) for door in (guarded.tls, guarded.sasl)}

    async def closed() -> bool:
        return not [c for c in psutil.Process().net_connections("tcp") if c.raddr and c.raddr.port in doors]

    await until(closed)


def _token(subject: str = "admin", life_s: float = 600) -> str:
    """An unsigned JWT (RFC 7519, section 6), as Kafka's own development set-up takes it."""
    now = int(time.time())
    parts = [{"alg": "none"}, {"sub": subject, "iat": now, "exp": now + int(life_s)}]
    return ".".join([base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]) + "."


class TokenServer:
    """An OIDC server's token endpoint: knows one client, counts what it gave."""

    def __init__(self) -> None:
        self.given = 0
        self.url = ""

    async def __aenter__(self) -> "TokenServer":
        self._server = await asyncio.start_server(self._answer, LOOPBACK, 0)
        self.url = f"http://{LOOPBACK}:{self._server.sockets[0].getsockname()[1]}/token"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        good = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
        if f"Basic {good}" in head:
            self.given += 1
            status, body = "200 OK", json.dumps({"access_token": _token(), "expires_in": 600})
        else:
            status, body = "401 Unauthorized", "{}"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())
        writer.close()


@pytest.fixture
async def tokens() -> AsyncIterator[TokenServer]:
    """A server of tokens."""
    async with TokenServer() as server:
        yield server


async def _round_trip(settings: CommonSettings, text: bytes) -> None:
    """What this client writes, it reads."""
    await provision(settings)
    producer = await make_producer(settings)
    await producer.send_and_wait("feedback", text)
    await producer.stop()
    consumer = await make_consumer(settings, f"group-{text.decode()}", "feedback")
    try:
        async with asyncio.timeout(PATIENCE_S):
            while text not in [r.value for rs in (await consumer.getmany(timeout_ms=100)).values() for r in rs]:
                pass
    finally:
        await consumer.stop()


async def test_every_way_in(guarded: Guarded, tokens: TokenServer, tmp_path: Path) -> None:
    password, token = tmp_path / "password", tmp_path / "token"
    password.write_text(PASSWORD + "\n")
    token.write_text(_token())
    key_password = SecretStr(KEY_PASSWORD)
    ways: dict[str, CommonSettings] = {
        "certificate": guarded.settings("SSL", kafka_cert_file=guarded.files.client("admin")),
        "locked-key": guarded.settings(
            "SSL", kafka_cert_file=guarded.files.client("admin", KEY_PASSWORD), kafka_key_password=key_password
        ),
        "scram-512": guarded.settings("SASL_SSL", kafka_user="admin", kafka_password=PASSWORD),
        "scram-256": guarded.settings(
            "SASL_SSL", kafka_mechanism="SCRAM-SHA-256", kafka_user="admin", kafka_password_file=password
        ),
        "token-file": guarded.settings("SASL_SSL", kafka_mechanism="OAUTHBEARER", kafka_token_file=token),
        "token-url": guarded.settings(
            "SASL_SSL",
            kafka_mechanism="OAUTHBEARER",
            kafka_token_url=tokens.url,
            kafka_user="me",
            kafka_password=PASSWORD,
        ),
    }
    for name, settings in ways.items():
        await _round_trip(settings, name.encode())
    assert tokens.given >= 1


async def test_every_refusal_is_fatal_at_once_with_its_cure(
    guarded: Guarded, tokens: TokenServer, tmp_path: Path
) -> None:
    expired = tmp_path / "token"
    expired.write_text(_token(life_s=-600))
    stranger = Certificates(tmp_path / "stranger")
    wrong = {"kafka_user": "admin", "kafka_password": "wr0ng"}
    right = {"kafka_user": "admin", "kafka_password": PASSWORD}
    oauth = {"kafka_mechanism": "OAUTHBEARER"}
    cases: list[tuple[str, CommonSettings, str]] = [
        ("password", guarded.settings("SASL_SSL", **wrong), "user, password and mechanism"),
        ("authority", guarded.settings("SASL_SSL", **right).model_copy(update={"kafka_ca_file": stranger.ca}), "--kafka-ca-file"),
        ("no certificate", guarded.settings("SSL"), "--kafka-cert-file"),
        ("foreign certificate", guarded.settings("SSL", kafka_cert_file=stranger.client("admin")), "--kafka-cert-file"),
        ("expired token", guarded.settings("SASL_SSL", **oauth, kafka_token_file=expired), "token"),
        ("no token", guarded.settings("SASL_SSL", **oauth, kafka_token_url=tokens.url, **wrong), "refuses: 401"),
        ("no file", guarded.settings("SASL_SSL", **oauth, kafka_token_file=tmp_path / "none"), "KAFKA_TOKEN_FILE"),
    ]  # fmt: skip
    for name, settings, cure in cases:
        with pytest.raises(AnomalyLLMError) as caught:
            await make_producer(settings, give_up_after_s=30)
        assert isinstance(caught.value, RefusedError), (name, caught.value)
        assert cure in str(caught.value), (name, caught.value)
        assert "wr0ng" not in str(caught.value), name


@pytest.mark.slow(20)  # three workers, an alert and a model
async def test_all_workers_do_their_work_with_exactly_the_rights_that_are_printed(
    guarded: Guarded, tmp_path: Path
) -> None:
    """From points to an alert and a model, by three users over TLS, with what `topics acls` says and no more."""
    admin = guarded.settings("SASL_SSL", kafka_user="admin", kafka_password=PASSWORD).model_copy(
        update={"topic_prefix": "least.", "namespace": "least", "state_dir": tmp_path}
    )
    await provision(admin)
    code, printed, _ = await run_command(admin, "topics", "acls", "--principal", "User:al-{role}", "--json")
    assert code == 0
    found = [json.loads(line) for line in printed.splitlines()]
    acls = [acl for name in WORKERS for acl in rights(admin, name, f"User:al-{name}")]
    of_workers = [acl for acl in found if acl.pop("permission") == "Allow" and acl.pop("role") in WORKERS]
    assert of_workers == [acl._asdict() for acl in acls]
    lines = commands([*acls, *rights(admin, "operator", "User:al-operator")], guarded.kafka.bootstrap)
    await asyncio.to_thread(guarded.kafka.acls, lines)
    async with AsyncExitStack() as stack:
        for name in WORKERS:
            own = admin.model_copy(update={"kafka_user": f"al-{name}"})
            more = {"ANOMALYLLM_ASSIGNMENT": "group"}
            process = await stack.enter_async_context(command(tmp_path / name, own, name, env=more))
            await process.wrote(f"{name} ready")
        producer = await make_producer(admin)
        stack.push_async_callback(producer.stop)
        # A student of 600 points calls a jump of 300 bands 4.7; 5.0 opens where nothing is set.
        await producer.send_and_wait("least.streams", b'{"alert_budget": 1}', key=b"a")
        now = time.time()
        stamp = int(now * 1000)
        rows = [[now - 900 + k, float(k % 5)] for k in range(600)]
        await publish(
            producer, admin, {"stream": "a", "points": rows}, key=b"another", timestamp_ms=stamp
        )  # of another partition
        await producer.send_and_wait("least.metrics", b"{", key=b"a")

        async def learnt() -> bool:
            there = {topic: await read_all(admin, topic) for topic in ("models", "dead-letters")}
            return all(there.values())

        await until(learnt)
        wild = [[now - 300 + k, 1000.0] for k in range(60)]
        await publish(producer, admin, {"stream": "a", "points": wild}, key=b"a", timestamp_ms=stamp)

        async def alerted() -> bool:
            return any(orjson.loads(r.value)["data"]["stream"] == "a" for r in await read_all(admin, "anomalies"))

        await until(alerted)
        operator = admin.model_copy(update={"kafka_user": "al-operator"})
        code, told, err = await run_command(operator, "status", "--json")
        assert (code, err) == (0, "")
        assert orjson.loads(told)["troubles"] == []
        assert [lag["unknown"] for lag in orjson.loads(told)["lags"]] == [[], [], []]
    for name in WORKERS:
        log = (tmp_path / name / f"{name}.log").read_text()
        assert PASSWORD not in log
        assert "refuse" not in log, log
