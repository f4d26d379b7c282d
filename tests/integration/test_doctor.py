"""`anomalyllm doctor` on installations that are well, and on some that are not."""

import os
from pathlib import Path

import orjson
import pytest
import redis.asyncio
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streamer.cli.doctor import line
from streamer.doctor.examine import examine
from streamer.doctor.findings import Finding
from streamer.doctor.host import check_store
from streamer.doctor.redis import check_redis
from streamer.kafka.client import make_producer
from streamer.overview.workers import Worker
from streamer.placement import Partitioner, home_partition
from streamer.settings import CommonSettings
from testkit.serving import producing, publish, running, until
from tests.integration.test_overview import command

pytestmark = pytest.mark.kafka


def of(found: list[Finding], subject: str) -> list[Finding]:
    """Findings of one subject."""
    return [finding for finding in found if finding.subject == subject]


async def send(settings: CommonSettings, how: Partitioner | None) -> None:
    """Forty streams, each where that hash puts it; None: all without a key in the first partition."""
    producer = await make_producer(settings)
    for number in range(40):
        name = f"s{number}"
        partition = 0 if how is None else home_partition(name, settings.partitions, how)
        body = orjson.dumps({"stream": name, "ts": 1_790_000_000, "value": 1})
        await producer.send(
            settings.topic("metrics"), body, key=None if how is None else name.encode(), partition=partition
        )
    await producer.stop()


@pytest.mark.slow(8)  # a process with torch and a teacher
async def test_an_installation_without_workers_is_broken_and_says_what_to_start(settings: CommonSettings) -> None:
    code, out, err = await command(settings, "doctor", "--json")
    assert (code, err) == (1, "")
    told = [orjson.loads(line) for line in out.splitlines()]
    shown = "\n".join(line(Finding(**finding)) for finding in told)
    for words in ("no streamer is alive", "Start one: anomalyllm streamer", "4 in each of", "smollm2 loads"):
        assert words in shown, shown
    assert {"ok", "bad"} <= {finding["level"] for finding in told}
    assert all(finding["cure"] for finding in told if finding["level"] in ("warn", "bad"))
    assert not [name for name in os.listdir(settings.store_uri()) if name.startswith("doctor")]


async def test_the_workers_that_are_there_are_found_well(settings: CommonSettings) -> None:
    async with running(settings), producing(settings) as producer:
        await publish(producer, settings, {"stream": "s", "ts": 1, "value": "x"})

        async def seen() -> bool:
            found = await examine(settings)
            return any(f.level == "ok" and "1 × streamer" in f.text for f in of(found, "workers")) and bool(
                of(found, "dead letters")
            )

        await until(seen)
        found = await examine(settings)
    assert "value 1" in of(found, "dead letters")[0].text
    assert [f.text for f in of(found, "workers") if f.level == "bad"] == ["no detector is alive", "no trainer is alive"]


@pytest.mark.parametrize(
    ("how", "level", "said"),
    [("murmur2", "ok", "murmur2"), ("crc32", "bad", "--partitioner crc32"), (None, "warn", "have no key")],
)
async def test_the_hash_of_the_keys_is_told(
    settings: CommonSettings, how: Partitioner | None, level: str, said: str
) -> None:
    await send(settings, how)
    [finding] = of(await examine(settings), "keys")
    assert finding.level == level
    assert said in finding.text + (finding.cure or "")


async def test_partition_counts_that_do_not_fit_and_topics_that_are_missing(settings: CommonSettings) -> None:
    [finding] = of(await examine(settings.model_copy(update={"partitions": 8})), "partitions")
    assert finding.level == "bad"
    assert str(finding.cure).startswith("Start every worker with --partitions 4, or ")
    other = settings.model_copy(update={"topic_prefix": settings.topic_prefix + "x."})
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(other.topic("metrics"), 2, 1)])
    found = await examine(other)
    await admin.delete_topics([other.topic("metrics")])
    await admin.close()
    [missing] = of(found, "topics")
    assert missing.cure == "anomalyllm topics provision"
    assert other.topic("windows") in missing.text
    assert of(found, "partitions")[0].level == "bad"


async def test_servers_that_are_away_are_findings_without_a_password(settings: CommonSettings) -> None:
    away = settings.model_copy(update={"bootstrap": "127.0.0.1:1", "redis_url": "redis://:open-sesame@127.0.0.1:1/0"})
    found = await examine(away)
    assert [f.level for f in (*of(found, "broker"), *of(found, "Redis"))] == ["bad", "bad"]
    assert "open-sesame" not in repr(found)


async def test_redis_that_throws_data_away_or_forgets(
    settings: CommonSettings, redis_client: redis.asyncio.Redis
) -> None:
    # how soon it answers, of which `Redis` speaks, is the machine's
    assert all(finding.level == "ok" for finding in await check_redis(settings) if finding.subject != "Redis")
    before = await redis_client.config_get("maxmemory-policy")
    try:
        await redis_client.config_set("maxmemory", 1 << 30)
        await redis_client.config_set("maxmemory-policy", "allkeys-lru")
        [finding] = of(await check_redis(settings), "Redis memory")
    finally:
        await redis_client.config_set("maxmemory", 0)
        await redis_client.config_set("maxmemory-policy", before["maxmemory-policy"] or "noeviction")
    assert (finding.level, finding.cure) == ("bad", "CONFIG SET maxmemory-policy noeviction")


async def test_a_store_that_the_workers_do_not_share(settings: CommonSettings, tmp_path: Path) -> None:
    def worker(room: str, host: str, store: str) -> Worker:
        return Worker(room, host, 0.0, 1.0, None, None, [], host=host, store=store)

    apart = [worker("detector", "a", "/models"), worker("trainer", "b", "s3://k:v@bucket/models")]
    found = await check_store(settings, apart, [])
    assert [f.level for f in of(found, "store")] == ["ok", "bad", "warn"]
    (tmp_path / "file").write_text("in the way")
    [broken] = await check_store(settings.model_copy(update={"store": str(tmp_path / "file" / "models")}), [], [])
    assert broken.level == "bad"
