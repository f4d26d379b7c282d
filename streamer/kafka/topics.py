"""The topics of the contract on a broker: creating them, their partitions, and whether all has been read."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from streamer.contracts import COMPACTED, PARTITIONED, TOPICS
from streamer.errors import ConfigError, UnavailableError
from streamer.kafka.client import MAX_MESSAGE_BYTES, kafka_name, make_admin
from streamer.patience import patiently
from streamer.placement import SHARDS
from streamer.refusals import raise_if_refused
from streamer.settings import CommonSettings

SEEN_TRIES, SEEN_S = 50, 0.1


def topic_config(topic: str) -> dict[str, str]:
    """Broker-side configuration of a topic of the contract."""
    config = {"max.message.bytes": str(MAX_MESSAGE_BYTES)}
    if topic in COMPACTED:
        config["cleanup.policy"] = "compact"
    return config


async def provision(settings: CommonSettings, give_up_after_s: float | None = None, fix: bool = False) -> list[str]:
    """Create the topics that are missing, and compare the partitions of all with the settings; returns lines to be said.

    metrics, windows, anomalies and training get `settings.partitions` partitions, all others one. With `fix` partitions
    are added where there are too few.

    Raises:
        ConfigError: the broker refuses a topic as it is asked for, or the partitions do not fit the settings.
        RefusedError: the right to create or describe topics is missing.
        UnavailableError: after `give_up_after_s` seconds.
    """
    name = kafka_name(settings)

    async def create() -> list[str]:
        admin = await make_admin(settings, 10_000)
        try:
            existing = set(await admin.list_topics())
            done = [
                f"created {settings.topic(topic)}"
                for topic in TOPICS
                if settings.topic(topic) not in existing and await _create(settings, admin, topic)
            ]
            found = await _described(settings, admin, lambda found: len(found) == len(PARTITIONED))
            if fix and (few := _too_few(settings, found)):
                await _add(settings, admin, few)
                done += [f"{topic}: {count} partitions, now {settings.partitions}" for topic, count in few.items()]
                found |= dict.fromkeys(few, settings.partitions)
            raise_if_misfit(settings, found)
            return done
        finally:
            await admin.close()

    return await patiently(name, create, give_up_after_s=give_up_after_s)


async def _create(settings: CommonSettings, admin: AIOKafkaAdminClient, topic: str) -> bool:
    """Create one topic; False when another worker was faster. Raises as `provision`, and KafkaError."""
    count = settings.partitions if topic in PARTITIONED else 1
    new = NewTopic(settings.topic(topic), count, settings.replication, topic_configs=topic_config(topic))
    try:
        reply = await admin.create_topics([new])
        for _, code, *text in reply.topic_errors:
            raise_reply(settings, settings.topic(topic), code, str(text[0] or "") if text else "")
    except TopicAlreadyExistsError:
        return False
    return True


def raise_reply(settings: CommonSettings, topic: str, code: int, text: str) -> None:
    """What a broker has answered to the wish for a topic; code 0: it is done.

    Raises RefusedError, TopicAlreadyExistsError, ConfigError, and KafkaError where trying again can help.

    >>> raise_reply(CommonSettings(bootstrap="b:1"), "metrics", 38, "replication factor 3, brokers 1")
    Traceback (most recent call last):
    streamer.errors.ConfigError: Kafka at b:1 does not create the topic metrics: InvalidReplicationFactorError (replication \
factor 3, brokers 1). Check --partitions, --replication and --topic-prefix, or create it by hand with what it allows
    """
    if code == 0:
        return
    error = for_code(code)(text)
    raise_if_refused(kafka_name(settings), error)
    if error.retriable or isinstance(error, TopicAlreadyExistsError):
        raise error
    raise ConfigError(
        f"{kafka_name(settings)} does not create the topic {topic}: {type(error).__name__}"
        f"{f' ({text})' if text else ''}. Check --partitions, --replication and --topic-prefix, or create it by hand "
        "with what it allows"
    ) from error


async def _partitions(settings: CommonSettings, admin: AIOKafkaAdminClient) -> dict[str, int]:
    """Partitions of the partitioned topics that the broker describes, by full name. Raises RefusedError, KafkaError."""
    wanted = [settings.topic(topic) for topic in TOPICS if topic in PARTITIONED]
    found = {}
    for about in await admin.describe_topics(wanted):
        error = for_code(about["error_code"])
        raise_if_refused(kafka_name(settings), error(about["topic"]))
        if about["error_code"] == 0:  # else it has not come to this broker yet: whoever reads it waits for it
            found[about["topic"]] = len(about["partitions"])
    return found


def _too_few(settings: CommonSettings, found: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in found.items() if count < settings.partitions}


def raise_if_misfit(settings: CommonSettings, found: Mapping[str, int]) -> None:
    """Raises ConfigError, one line with its cure, when topics have other numbers of partitions than the settings say.

    >>> settings = CommonSettings(bootstrap="b:1", partitions=4)
    >>> raise_if_misfit(settings, {"metrics": 4, "windows": 4})
    >>> raise_if_misfit(settings, {"metrics": 8, "windows": 8})
    Traceback (most recent call last):
    streamer.errors.ConfigError: Kafka at b:1 has metrics with 8 partitions, windows with 8 partitions; --partitions is 4. \
Start every worker with --partitions 8
    """
    wrong = misfit(settings, found)
    if wrong is not None:
        raise ConfigError(f"{kafka_name(settings)} has {wrong[0]}; --partitions is {settings.partitions}. {wrong[1]}")


def misfit(settings: CommonSettings, found: Mapping[str, int]) -> tuple[str, str] | None:
    """Topics with other numbers of partitions than the settings say, and the cure; None where all have as many.

    >>> misfit(CommonSettings(partitions=4), {"metrics": 8, "windows": 4})[0]
    'metrics with 8 partitions'
    """
    wrong = {name: count for name, count in found.items() if count != settings.partitions}
    if not wrong:
        return None
    largest, even = max(found.values()), len(set(found.values())) == 1
    if even and SHARDS % largest == 0:
        cure = f"Start every worker with --partitions {largest}"
    elif largest <= settings.partitions or SHARDS % largest == 0:
        # Kafka cannot take partitions away: all get as many as the largest has.
        target = max(settings.partitions, largest)
        cure = (
            f"Stop the workers, run `anomalyllm topics provision --fix --partitions {target}`, and start them with that"
        )
    else:
        cure = f"Delete them and run `anomalyllm topics provision`: their partitions must divide {SHARDS}"
    if even and largest < settings.partitions:
        cure += f", or stop them and run `anomalyllm topics provision --fix` to have {settings.partitions}"
    return ", ".join(f"{name} with {count} partitions" for name, count in wrong.items()), cure


async def _add(settings: CommonSettings, admin: AIOKafkaAdminClient, few: Mapping[str, int]) -> None:
    """Add partitions, to `metrics` last: nothing is sent on to a partition that is not there. Raises as `provision`."""
    for name in sorted(few, key=lambda name: name == settings.topic("metrics")):
        try:
            await admin.create_partitions({name: NewPartitions(settings.partitions)})
        except KafkaError as error:
            raise_if_refused(kafka_name(settings), error)
            if error.retriable:
                raise
            raise ConfigError(
                f"{kafka_name(settings)} does not add partitions to {name}: {type(error).__name__}: {error}. "
                f"Start every worker with --partitions {few[name]}, or delete the topic and provision it again"
            ) from error
    await _described(settings, admin, lambda found: not _too_few(settings, found))


async def _described(
    settings: CommonSettings, admin: AIOKafkaAdminClient, enough: Callable[[Mapping[str, int]], bool]
) -> dict[str, int]:
    """`_partitions`, asked again while brokers have not heard of what is new: they do a moment later."""
    for _ in range(SEEN_TRIES):
        if enough(found := await _partitions(settings, admin)):
            break
        await asyncio.sleep(SEEN_S)
    return found


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
