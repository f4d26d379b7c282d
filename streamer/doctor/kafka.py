"""Broker, topics, partition counts, and whether records come with the keys that this installation expects."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence

import orjson
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from streamer.contracts import PARTITIONED, TOPICS
from streamer.doctor.findings import Finding, bad, note, ok, warn
from streamer.kafka.client import fetch, kafka_name, make_admin, make_consumer
from streamer.kafka.topics import at_end, misfit
from streamer.overview.cluster import ADMIN_TIMEOUT_MS, Cluster, read_cluster
from streamer.placement import Partitioner, home_partition
from streamer.settings import CommonSettings

# Records looked at in each partition: enough to tell a hash (1 in 4 to the power of 50 is no chance).
SAMPLE = 50
# Answers without news after which a partition counts as empty.
FETCHES, FETCH_MS = 10, 200
AHEAD_S = 300.0
SLOW_S = 0.5
FEW_REPLICAS = 3  # brokers from which on a single replica is a mistake
HASHES: tuple[Partitioner, ...] = ("murmur2", "crc32")


async def check_kafka(settings: CommonSettings) -> list[Finding]:
    """All findings. Raises KafkaError, RefusedError, UnavailableError where the broker does not answer."""
    begin = time.monotonic()
    admin: AIOKafkaAdminClient = await make_admin(settings, ADMIN_TIMEOUT_MS)
    try:
        cluster = await read_cluster(settings, admin, TOPICS)
    finally:
        await admin.close()
    took = time.monotonic() - begin
    found = [_broker(settings, cluster, took), *topics(settings, cluster)]
    if "metrics" in cluster.topics:
        records = await _sample(settings, cluster.topics["metrics"].partitions)
        found += keys(settings, records, cluster.topics["metrics"].partitions)
        found += ahead(records)
    return found


def _broker(settings: CommonSettings, cluster: Cluster, took: float) -> Finding:
    text = (
        f"{kafka_name(settings)}: {len(cluster.brokers)} brokers, cluster {cluster.cluster_id}, answers in {took:.2f} s"
    )
    if took > SLOW_S:
        return warn(
            "broker", text, "Look at the network between this host and the brokers; workers wait for every write."
        )
    return ok("broker", text)


def topics(settings: CommonSettings, cluster: Cluster) -> list[Finding]:
    """Whether all topics are there, with partitions that fit together."""
    found = []
    missing = [settings.topic(name) for name in TOPICS if name not in cluster.topics]
    if missing:
        found.append(bad("topics", f"missing: {', '.join(missing)}", "anomalyllm topics provision"))
    counts = {settings.topic(name): topic.partitions for name, topic in cluster.topics.items() if name in PARTITIONED}
    wrong = misfit(settings, counts)
    if wrong is not None:
        found.append(bad("partitions", f"{wrong[0]}; --partitions is {settings.partitions}", f"{wrong[1]}."))
    elif counts:
        found.append(ok("partitions", f"{settings.partitions} in each of {', '.join(sorted(counts))}"))
    leaderless = [settings.topic(name) for name, topic in cluster.topics.items() if topic.leaderless]
    if leaderless:
        found.append(
            bad(
                "leaders",
                f"partitions without a leader in {', '.join(leaderless)}",
                "Start the broker that holds them.",
            )
        )
    single = [settings.topic(name) for name, topic in cluster.topics.items() if topic.replicas < 2]
    if single and len(cluster.brokers) >= FEW_REPLICAS:
        found.append(
            warn(
                "replicas", f"one replica only of {', '.join(single)}: a broker that is lost takes them along",
                "kafka-reassign-partitions, or --replication 3 before topics provision.",
            )
        )  # fmt: skip
    return found


async def _sample(settings: CommonSettings, partitions: int) -> list[ConsumerRecord]:
    """The newest records of each partition of `metrics`."""
    consumer: AIOKafkaConsumer = await make_consumer(settings, None)
    try:
        wanted = [TopicPartition(settings.topic("metrics"), partition) for partition in range(partitions)]
        begins, ends = await consumer.beginning_offsets(wanted), await consumer.end_offsets(wanted)
        consumer.assign(wanted)
        for partition in wanted:
            consumer.seek(partition, max(begins[partition], ends[partition] - SAMPLE))
        found: Counter[TopicPartition] = Counter()
        records: list[ConsumerRecord] = []
        for _ in range(FETCHES):
            for partition, some in (await fetch(settings, consumer, FETCH_MS, SAMPLE * partitions)).items():
                records += some[: SAMPLE - found[partition]]
                found[partition] += len(some)
                if found[partition] >= SAMPLE:
                    consumer.pause(partition)
            if await at_end(consumer, wanted):
                break
        return records
    finally:
        await consumer.stop()


def keys(settings: CommonSettings, records: Sequence[ConsumerRecord], partitions: int) -> list[Finding]:
    """Which hash the publishers' keys follow."""
    named = [(record, name) for record in records if (name := _stream(record)) is not None]
    if not named:
        return [note("keys", "no record of `metrics` to look at yet")]
    total = len(named)
    home = {how: sum(_at_home(named, partitions, how)) for how in HASHES}
    mine, other = settings.partitioner, next(how for how in HASHES if how != settings.partitioner)
    if home[mine] == total:
        return [ok("keys", f"{total} records of `metrics` lie where {mine} puts their stream")]
    if home[other] == total and partitions > 1:
        return [
            bad(
                "keys", f"{total} records lie where {other} puts them, and --partitioner says {mine}: all are sent on",
                f"Set --partitioner {other} for every worker before there are streams (it decides where their windows lie), "
                f"or set the publishers' partitioner to {mine} (librdkafka: partitioner=murmur2_random).",
            )
        ]  # fmt: skip
    away = total - home[mine]
    without = sum(record.key is None for record, _ in named)
    why = f"{without} of them have no key" if without else "their key is not the stream's name, or its hash another"
    return [
        warn(
            "keys", f"{away} of {total} records of `metrics` lie in another partition than their stream's: {why}",
            "Publish with the stream's name as key: a record that is sent on costs a second way through Kafka.",
        )
    ]  # fmt: skip


def _at_home(named: Iterable[tuple[ConsumerRecord, str]], partitions: int, how: Partitioner) -> Iterable[bool]:
    return (record.partition == home_partition(name, partitions, how) for record, name in named)


def _stream(record: ConsumerRecord) -> str | None:
    """The stream that a record of the contract names; None for anything else."""
    try:
        body = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        return None
    name = body.get("stream") if isinstance(body, dict) else None
    return name if isinstance(name, str) else None


def ahead(records: Sequence[ConsumerRecord]) -> list[Finding]:
    """Records whose own time stamp lies in this host's future."""
    most = max((record.timestamp / 1000 - time.time() for record in records), default=0.0)
    if most <= AHEAD_S:
        return []
    return [
        warn(
            "clock", f"records of `metrics` are stamped {most:.0f} s ahead of this host's clock",
            "Let a time service (chrony, systemd-timesyncd) keep the clocks of publishers, brokers and this host.",
        )
    ]  # fmt: skip
