"""The Kafka cluster as it describes itself: brokers, topics, partitions, committed offsets."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError

from streamer.kafka.client import kafka_name
from streamer.patience import patiently
from streamer.refusals import KAFKA_ERRORS, raise_if_refused
from streamer.settings import CommonSettings

ADMIN_TIMEOUT_MS = 5_000
COORDINATOR_S = 5.0


@dataclass(frozen=True, slots=True)
class Broker:
    """One broker, as clients reach it."""

    node: int
    host: str
    port: int
    rack: str | None


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of ours that exists."""

    name: str  # of the contract, without prefix
    partitions: int
    replicas: int  # of its first partition
    leaderless: int  # partitions without a leader


@dataclass(frozen=True, slots=True)
class Cluster:
    """What answers behind the bootstrap address."""

    cluster_id: str
    brokers: list[Broker]
    topics: dict[str, Topic]


async def read_cluster(settings: CommonSettings, admin: AIOKafkaAdminClient, names: Iterable[str]) -> Cluster:
    """Cluster and those of the named topics of the contract that exist. Raises KafkaError, RefusedError."""
    try:
        answer = await admin.describe_cluster()
        existing = set(await admin.list_topics())
        wanted = [name for name in names if settings.topic(name) in existing]
        found = await admin.describe_topics([settings.topic(name) for name in wanted]) if wanted else []
    except KAFKA_ERRORS as error:
        raise_if_refused(kafka_name(settings), error)
        raise
    by_name = {row["topic"]: row["partitions"] for row in found}
    topics = {}
    for name in wanted:
        parts = by_name.get(settings.topic(name), [])
        replicas = len(parts[0]["replicas"]) if parts else 0
        topics[name] = Topic(name, len(parts), replicas, sum(part["leader"] < 0 for part in parts))
    brokers = [Broker(b["node_id"], b["host"], b["port"], b.get("rack")) for b in answer["brokers"]]
    return Cluster(str(answer["cluster_id"]), sorted(brokers, key=lambda broker: broker.node), topics)


async def read_committed(
    settings: CommonSettings, admin: AIOKafkaAdminClient, group: str, partitions: Iterable[TopicPartition]
) -> dict[TopicPartition, int]:
    """Next offset that a group reads of each partition, without those it has never committed.

    Raises KafkaError, RefusedError, UnavailableError.
    """

    async def ask() -> Any:
        # Named one by one: the embedded broker cannot tell all of a group's partitions.
        return await admin.list_consumer_group_offsets(group, partitions=list(partitions))

    try:
        # A new cluster has no coordinator until somebody asks for one: the topic of offsets is made then.
        found = await patiently(
            kafka_name(settings), ask, (GroupCoordinatorNotAvailableError,), give_up_after_s=COORDINATOR_S
        )
    except KAFKA_ERRORS as error:
        raise_if_refused(kafka_name(settings), error)
        raise
    return {partition: answer.offset for partition, answer in found.items() if answer.offset >= 0}
