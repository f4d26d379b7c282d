"""The compare-and-set on a real server: fencing, conflicts, another cluster, all or nothing."""

import uuid

import pytest
import redis.asyncio

from streamer.errors import FencedError, OffsetConflictError
from streamer.host.embedded import EmbeddedStack
from streamer.windows.keys import Keys
from streamer.windows.ledger import Ledger, Ops


@pytest.fixture
def keys(stack: EmbeddedStack) -> Keys:
    return Keys(f"l{uuid.uuid4().hex[:8]}")


def write(key: str, value: bytes, shard: int = 1) -> Ops:
    ops = Ops()
    ops.shard(shard).set(key, value)
    return ops


async def test_offsets_move_with_the_data(redis_client: redis.asyncio.Redis, keys: Keys) -> None:
    ledger = Ledger(redis_client, keys, "t", "c1", 4)
    await ledger.claim(1)
    assert ledger.resume_at(1) == 0
    await ledger.apply(1, 17, write("x" + keys.namespace, b"one"))
    assert (ledger.applied(1, 1), ledger.applied(1, 253), ledger.resume_at(1)) == (17, 17, 18)
    again = Ledger(redis_client, keys, "t", "c1", 4)
    await again.claim(1)
    assert again.resume_at(1) == 18
    # a repeated batch may write, but never moves an offset back
    await again.apply(1, 5, write("x" + keys.namespace, b"two"))
    assert again.resume_at(1) == 18
    assert await redis_client.get("x" + keys.namespace) == b"two"


async def test_an_older_owner_is_fenced_before_it_writes_anything(
    redis_client: redis.asyncio.Redis, keys: Keys
) -> None:
    old, new = (Ledger(redis_client, keys, "t", "c1", 4) for _ in range(2))
    await old.claim(0)
    await new.claim(0)
    with pytest.raises(FencedError):
        await old.apply(0, 9, write("y" + keys.namespace, b"stale", 0))
    assert await redis_client.get("y" + keys.namespace) is None
    await new.apply(0, 9, write("y" + keys.namespace, b"fresh", 0))


async def test_an_unexpected_offset_is_a_conflict_and_loading_again_mends_it(
    redis_client: redis.asyncio.Redis, keys: Keys
) -> None:
    ledger = Ledger(redis_client, keys, "t", "c1", 4)
    await ledger.claim(2)
    await ledger.apply(2, 3, Ops())
    await redis_client.hset(keys.stream_offset(2, "t", 2), "offset", "1")  # a restored backup, say
    with pytest.raises(OffsetConflictError, match="stored is 1"):
        await ledger.apply(2, 8, write("z" + keys.namespace, b"no", 2))
    assert await redis_client.get("z" + keys.namespace) is None
    await ledger.load(2)
    assert ledger.resume_at(2) == 2
    await ledger.apply(2, 8, Ops())


async def test_offsets_of_another_cluster_count_for_nothing(redis_client: redis.asyncio.Redis, keys: Keys) -> None:
    ledger = Ledger(redis_client, keys, "t", "c1", 4)
    await ledger.claim(3)
    await ledger.apply(3, 1000, Ops())
    other = Ledger(redis_client, keys, "t", "c2", 4)
    await other.claim(3)
    assert other.resume_at(3) == 0
    await other.apply(3, 2, Ops())
    assert other.resume_at(3) == 3
