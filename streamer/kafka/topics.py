"""The topics of the contract on a broker: creating them, their partitions, and whether all has been read."""

from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from streamer.contracts import COMPACTED, PARTITIONED, TOPICS
from streamer.errors import UnavailableError
from streamer.kafka.client import MAX_MESSAGE_BYTES, kafka_name, make_admin
from streamer.patience import patiently
from streamer.refusals import raise_if_refused
from streamer.settings import CommonSettings


def topic_config(topic: str) -> dict[str, str]:
    """Broker-side configuration of a topic of the contract."""
    config = {"max.message.bytes": str(MAX_MESSAGE_BYTES)}
    if topic in COMPACTED:
        config["cleanup.policy"] = "compact"
    return config


async def provision(settings: CommonSettings, give_up_after_s: float | None = None) -> list[str]:
    """Create the topics that are missing; returns their full names.

    metrics, windows, anomalies and training get `settings.partitions` partitions, all others one. Raises
    RefusedError, and UnavailableError after `give_up_after_s` seconds.
    """

    async def create() -> list[str]:
        admin = await make_admin(settings, 10_000)
        try:
            existing = set(await admin.list_topics())
            created = []
            for topic in TOPICS:
                name = settings.topic(topic)
                if name in existing:
                    continue
                count = settings.partitions if topic in PARTITIONED else 1
                new = NewTopic(name, count, settings.replication, topic_configs=topic_config(topic))
                try:
                    reply = await admin.create_topics([new])
                except TopicAlreadyExistsError:  # another worker was faster
                    continue
                for _, code, *text in reply.topic_errors:
                    raise_if_refused(kafka_name(settings), for_code(code)(name, *text))
                created.append(name)
            return created
        finally:
            await admin.close()

    return await patiently(kafka_name(settings), create, give_up_after_s=give_up_after_s)


async def partitions_of(consumer: AIOKafkaConsumer, *names: str) -> list[TopicPartition]:
    """All partitions of topics, by full name, as the brokers know them now.

    `consumer.partitions_for_topic` knows only topics that the consumer has subscribed to or been assigned.

    Raises:
        UnavailableError: a topic does not exist.
    """
    cluster = await consumer._client.fetch_all_metadata()
    partitions = []
    for name in names:
        found = cluster.partitions_for_topic(name)
        if not found:
            raise UnavailableError(f"topic {name} does not exist: run `anomalyllm topics provision`")
        partitions += [TopicPartition(name, p) for p in sorted(found)]
    return partitions


async def at_end(consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> bool:
    """Whether everything has been read that was there at the newest fetch.

    A partition of which no fetch has come back yet has no known end: a slow broker is not an empty topic.
    """
    for partition in partitions:
        end = consumer.highwater(partition)
        if end is None or await consumer.position(partition) < end:
            return False
    return True
