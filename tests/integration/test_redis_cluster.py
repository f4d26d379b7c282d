"""The same work on three Valkey nodes: what is one call on one node is a call a shard here."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis.asyncio
import redis.exceptions
from pydantic import SecretStr

from streamer.errors import ConfigError, FencedError
from streamer.host.stats import read_stats
from streamer.placement import shard_of
from streamer.redis_client import is_cluster, make_redis
from streamer.settings import CommonSettings
from streamer.windows.keys import Keys
from streamer.windows.ledger import Ledger, Ops
from streamer.windows.ring import all_streams, read_windows
from testkit.detecting import PAST, events, normal, ready
from testkit.serving import until
from testkit.valkey_cluster import ValkeyCluster

STREAMS = [f"s{k}" for k in range(12)]  # of all nodes and partitions


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyCluster]:
    """One cluster for all tests of this module."""
    cluster = ValkeyCluster(tmp_path_factory.mktemp("cluster"))
    asyncio.run(cluster.start())
    yield cluster
    asyncio.run(cluster.stop())


@pytest.fixture
async def client(nodes: ValkeyCluster) -> AsyncIterator[redis.asyncio.Redis]:
    """The project's own client of it."""
    made = make_redis(CommonSettings(redis_url=nodes.url, redis_cluster=True))
    yield made
    await made.aclose()


async def test_the_ledger_writes_shard_by_shard_and_fences(client: redis.asyncio.Redis) -> None:
    assert is_cluster(client)
    keys = Keys(f"l{uuid.uuid4().hex[:8]}")
    old, new = (Ledger(client, keys, "t", "c1", 4) for _ in range(2))
    await old.claim(1)
    ops = Ops()
    for shard in (1, 5, 253):
        ops.shard(shard).set(keys.ring(shard, "a"), b"x%d" % shard)
    await old.apply(1, 17, ops)
    assert (old.applied(1, 1), old.applied(1, 253), old.resume_at(1)) == (17, 17, 18)
    assert [await client.get(keys.ring(shard, "a")) for shard in (1, 5, 253)] == [b"x1", b"x5", b"x253"]
    await new.claim(1)
    assert new.resume_at(1) == 18
    with pytest.raises(FencedError):
        await old.apply(1, 18, ops)
    assert new.resume_at(1) == 18


def test_a_cluster_has_one_database() -> None:
    with pytest.raises(ConfigError, match="database 0 alone"):
        make_redis(CommonSettings(redis_url="redis://localhost:1/3", redis_cluster=True))


async def test_the_rights_that_docs_give_are_enough(nodes: ValkeyCluster) -> None:
    name = f"u{uuid.uuid4().hex[:8]}"
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "secure.md").read_text()
    line = next(line for line in page.splitlines() if line.startswith("ACL SETUSER anomalyllm "))
    more = next(line for line in page.splitlines() if line.startswith("On a cluster add `")).split("`")[1]
    rights = line.replace("ACL SETUSER anomalyllm", "").replace("~al:*", f"~{name}:*").split() + more.split()
    for port in nodes.ports:
        async with redis.asyncio.Redis(host="127.0.0.1", port=port) as admin:
            await admin.execute_command("ACL SETUSER", name, *rights)  # type: ignore[no-untyped-call]
    settings = CommonSettings(
        redis_url=nodes.url, redis_cluster=True, redis_user=name, redis_password=SecretStr("PASSWORD")
    )
    async with make_redis(settings) as mine:
        keys = Keys(name)
        ledger = Ledger(mine, keys, "t", "c1", 4)
        await ledger.claim(1)
        await ledger.apply(1, 17, Ops())
        assert ledger.resume_at(1) == 18
        assert await read_stats(mine, keys) == []
        with pytest.raises(redis.exceptions.NoPermissionError):
            await mine.get("another:key")


@pytest.mark.slow(10)
async def test_windows_and_incidents_survive_a_node_that_dies(
    settings: CommonSettings, nodes: ValkeyCluster, client: redis.asyncio.Redis
) -> None:
    """Streamer and detector on a cluster, one node of it killed in mid-work: every window whole, the incident told."""
    clustered = settings.model_copy(update={"redis_url": nodes.url, "redis_cluster": True})
    keys = Keys(clustered.namespace)
    values = normal(PAST, 300)
    values[100:115] += 30.0
    async with ready(clustered, client, STREAMS, given={"interval_s": 0.1}) as run:
        await run.live("s0", PAST, values[:100], piece=20)
        nodes.kill(1)  # the workers wait; whoever publishes does not notice
        for stream in STREAMS[1:]:
            await run.live(stream, PAST, normal(PAST, 300), piece=100)
        await run.live("s0", PAST + 100, values[100:], piece=20)
        await nodes.start_node(1)
        await nodes.whole()

        async def told() -> bool:
            return any(e.subject == "s0" and e.data.state == "resolved" for e in await events(clustered))

        async def written() -> bool:
            windows = await read_windows(client, keys, STREAMS)
            return [w.header.hi - w.header.lo + 1 for w in windows.values()] == [PAST + 300] * len(STREAMS)

        await until(written)
        await until(told)
        assert {event.subject for event in await events(clustered)} == {"s0"}
        rows = await read_stats(client, keys)
        assert {row["room"] for row in rows} >= {"detector"}
    assert await all_streams(client, keys) == sorted(STREAMS)
    windows = await read_windows(client, keys, STREAMS)
    for stream in STREAMS:
        expected = values if stream == "s0" else normal(PAST, 300)
        assert (windows[stream].values_SC[-300:, 0] == expected.astype("float32")).all(), stream
    assert len({shard_of(stream) for stream in STREAMS}) > 3
