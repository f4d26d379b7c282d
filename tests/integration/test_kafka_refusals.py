"""What Apache Kafka refuses is fatal at once: a wrong password, a right that is missing."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from streamer.errors import RefusedError
from streamer.host.embedded import LOOPBACK, EmbeddedStack
from streamer.kafka.client import fetch, make_consumer, make_producer
from streamer.kafka.sending import Outgoing, send_patiently
from streamer.kafka.topics import provision
from streamer.settings import CommonSettings, StreamerSettings
from streamer.worker import StreamerWorker
from testkit.ports import lasting_port
from testkit.real_kafka import RealKafka
from tests.conftest import REAL_KAFKA

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.skipif(not REAL_KAFKA, reason="the embedded broker knows no users (make test-kafka)"),
]
PASSWORD = "r1ght"
MORE = """
listeners=PLAINTEXT://{host}:{port},SASL_PLAINTEXT://{host}:{guarded},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{port},SASL_PLAINTEXT://{host}:{guarded}
controller.quorum.bootstrap.servers={host}:{controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_worker="{password}";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmbeddedStack, str]]:
    """A stack with a listener that wants a password, and whose user `worker` has no rights; its address."""
    folder: Path = tmp_path_factory.mktemp("guarded")
    port, listener = lasting_port(), lasting_port()
    kafka = RealKafka(
        folder / "kafka",
        port=port,
        more=MORE.format(host=LOOPBACK, port=port, guarded=listener, controller=lasting_port(), password=PASSWORD),
    )
    stack = EmbeddedStack(folder, broker=kafka)
    asyncio.run(stack.start())
    yield stack, f"{LOOPBACK}:{listener}"
    asyncio.run(stack.stop())


def _log_in(monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    def connection(settings: CommonSettings) -> dict[str, Any]:
        return {
            "bootstrap_servers": settings.bootstrap,
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "PLAIN",
            "sasl_plain_username": "worker",
            "sasl_plain_password": password,
        }

    monkeypatch.setattr("streamer.kafka.client.connection", connection)


async def test_a_wrong_password_is_not_waited_out(
    guarded: tuple[EmbeddedStack, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _log_in(monkeypatch, "wr0ng")
    settings = CommonSettings(bootstrap=guarded[1])
    for starting in (make_producer(settings), make_consumer(settings, None), provision(settings)):
        with pytest.raises(RefusedError, match="password and mechanism") as caught:
            await starting
        assert "wr0ng" not in str(caught.value)


async def test_missing_rights_are_not_waited_out(
    guarded: tuple[EmbeddedStack, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stack, address = guarded
    await provision(CommonSettings(bootstrap=stack.bootstrap))
    _log_in(monkeypatch, PASSWORD)
    settings = StreamerSettings(bootstrap=address, redis_url=stack.redis_url, assignment="all", state_dir=tmp_path)
    with pytest.raises(RefusedError, match="kafka-acls"):
        await StreamerWorker(settings).run()
    producer = await make_producer(settings)
    try:
        with pytest.raises(RefusedError, match="TopicAuthorizationFailed"):
            await send_patiently(settings, producer, [Outgoing("metrics", b"{}")])
    finally:
        await producer.stop()
    consumer = await make_consumer(settings, None)
    consumer.assign([TopicPartition("metrics", 0)])
    consumer.seek(TopicPartition("metrics", 0), 0)
    try:
        with pytest.raises(RefusedError, match="TopicAuthorizationFailed"):
            await _read(settings, consumer)
    finally:
        await consumer.stop()


async def _read(settings: CommonSettings, consumer: AIOKafkaConsumer) -> None:
    while not await fetch(settings, consumer, 100):
        pass
