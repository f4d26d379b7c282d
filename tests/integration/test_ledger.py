"""The compare-and-set on a real server: fencing, conflicts, another cluster, all or nothing."""

import uuid

import pytest
import redis.asyncio

from streamer.errors import FencedError, OffsetConflictError, StateLostError, UnstorableError
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
    await redis_client.hset(keys.stream_offset(2, "t", 2), "offset", "5")  # our own write, whose answer did not come
    with pytest.raises(OffsetConflictError, match="stored is 5"):
        await ledger.apply(2, 8, write("z" + keys.namespace, b"no", 2))
    assert await redis_client.get("z" + keys.namespace) is None
    await ledger.load(2)
    assert (ledger.resume_at(2), ledger.applied(2, 2)) == (4, 5)
    await ledger.apply(2, 8, Ops())


@pytest.mark.parametrize("lost", ["all", "offsets", "counter"])
async def test_a_redis_that_has_lost_data_is_known_and_can_be_claimed_again(
    redis_client: redis.asyncio.Redis, keys: Keys, lost: str
) -> None:
    for _ in range(3):
        before = Ledger(redis_client, keys, "t", "c1", 4)
        await before.claim(1)
    await before.apply(1, 17, Ops())
    assert await before.kept(1)
    offsets = [keys.stream_offset(shard, "t", 1) for shard in range(1, 256, 4)]
    counter = keys.owner_epoch("t", 1)
    await redis_client.delete(*{"all": [*offsets, counter], "offsets": offsets, "counter": [counter]}[lost])
    if lost != "counter":
        assert not await before.kept(1)
        with pytest.raises(StateLostError):
            await before.apply(1, 20, write("w" + keys.namespace, b"no"))
        assert await redis_client.get("w" + keys.namespace) is None
        await before.claim(1)
        assert before.resume_at(1) == 0
    await before.apply(1, 20, Ops())
    # the next owner is above the last one, though the counter is younger than the epochs in the offsets
    after = Ledger(redis_client, keys, "t", "c1", 4)
    await after.claim(1)
    await after.apply(1, 21, Ops())
    with pytest.raises(FencedError):
        await before.apply(1, 22, Ops())


async def test_an_offset_that_went_back_is_data_lost(redis_client: redis.asyncio.Redis, keys: Keys) -> None:
    ledger = Ledger(redis_client, keys, "t", "c1", 4)
    await ledger.claim(2)
    await ledger.apply(2, 3, Ops())
    backup = await redis_client.dump(keys.stream_offset(2, "t", 2))
    assert backup is not None
    await ledger.apply(2, 9, Ops())
    await redis_client.restore(keys.stream_offset(2, "t", 2), 0, backup, replace=True)
    with pytest.raises(StateLostError, match="its offset is 3 and was 9"):
        await ledger.apply(2, 10, Ops())
    await ledger.claim(2)
    assert ledger.resume_at(2) == 4


async def test_offsets_of_another_cluster_count_for_nothing(redis_client: redis.asyncio.Redis, keys: Keys) -> None:
    ledger = Ledger(redis_client, keys, "t", "c1", 4)
    await ledger.claim(3)
    await ledger.apply(3, 1000, Ops())
    other = Ledger(redis_client, keys, "t", "c2", 4)
    await other.claim(3)
    assert other.resume_at(3) == 0
    await other.apply(3, 2, Ops())
    assert other.resume_at(3) == 3


async def test_a_write_that_cannot_be_leaves_nothing_behind(redis_client: redis.asyncio.Redis, keys: Keys) -> None:
    ledger = Ledger(redis_client, keys, "t", "c1", 4)
    await ledger.claim(1)
    ops = write("v" + keys.namespace, b"one")
    ops.shard(5).setrange("w" + keys.namespace, 512 * 1024 * 1024, b"beyond")
    with pytest.raises(UnstorableError, match="too many"):
        await ledger.apply(1, 3, ops)
    assert await redis_client.get("v" + keys.namespace) is None
    await ledger.load(1)
    assert ledger.resume_at(1) == 0


async def test_a_key_of_another_kind_is_replaced(redis_client: redis.asyncio.Redis, keys: Keys) -> None:
    ledger = Ledger(redis_client, keys, "t", "c1", 4)
    await ledger.claim(1)
    for kind in "abc":
        await redis_client.hset(kind + keys.namespace, "foreign", "1")
    ops = write("v" + keys.namespace, b"one")
    ops.shard(1).setrange("a" + keys.namespace, 2, b"x")
    ops.shard(5).sadd("b" + keys.namespace, "x")
    ops.shard(5).rpush("c" + keys.namespace, b"x")
    await ledger.apply(1, 3, ops)
    assert await redis_client.get("a" + keys.namespace) == b"\0\0x"
    assert await redis_client.smembers("b" + keys.namespace) == {b"x"}
    assert await redis_client.lrange("c" + keys.namespace, 0, -1) == [b"x"]
    assert ledger.resume_at(1) == 4


async def test_an_offset_of_another_kind_is_data_lost(redis_client: redis.asyncio.Redis, keys: Keys) -> None:
    ledger = Ledger(redis_client, keys, "t", "c1", 4)
    await ledger.claim(1)
    await ledger.apply(1, 3, Ops())
    key = keys.stream_offset(5, "t", 1)
    await redis_client.set(key, b"foreign")
    assert not await ledger.kept(1)
    with pytest.raises(StateLostError):
        await ledger.apply(1, 4, Ops())
    await ledger.claim(1)
    assert ledger.resume_at(1) == 0
    await ledger.apply(1, 4, Ops())
    assert ledger.resume_at(1) == 5


async def test_a_batch_too_large_for_one_call_is_written_in_several(
    redis_client: redis.asyncio.Redis, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamer.windows.ledger.MAX_CALL", 100)
    ledger = Ledger(redis_client, keys, "t", "c1", 4)
    await ledger.claim(1)
    calls: list[int] = []
    call = ledger._call

    def counted(partition: int, group: list[int], target: int, ops: Ops) -> tuple[list[str], list[bytes | str | int]]:
        calls.append(len(group))
        return call(partition, group, target, ops)

    monkeypatch.setattr(ledger, "_call", counted)
    ops = Ops()
    for shard in (1, 5, 9, 253):
        ops.shard(shard).set(f"{shard}{keys.namespace}", b"x" * 60)
    await ledger.apply(1, 7, ops)
    assert (len(calls), sum(calls)) == (4, 64)
    await ledger.load(1)
    assert ledger.resume_at(1) == 8
    assert [len(await redis_client.get(f"{s}{keys.namespace}") or b"") for s in (1, 5, 9, 253)] == [60] * 4
