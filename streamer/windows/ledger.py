"""Data and input offset in one compare-and-set: at least once from Kafka, with the effect of exactly once in Redis.

The offset is kept per (partition, shard), so that the layout works on a cluster, where each shard is a call of its
own; on one node one call applies a whole batch or nothing, unless the batch is very large.
"""

from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import redis.asyncio
import structlog
from redis.asyncio.client import Pipeline
from redis.commands.core import AsyncScript
from redis.exceptions import NoScriptError

from streamer.errors import FencedError, OffsetConflictError, StateLostError, UnstorableError
from streamer.placement import shards_of_partition
from streamer.redis_client import is_cluster
from streamer.windows.keys import Keys

log = structlog.get_logger(__name__)
SCRIPT = files("streamer.windows").joinpath("apply.lua").read_text()
# A stored offset of another cluster (the embedded broker was restarted) counts for nothing. A larger epoch stays:
# two claims may cross, and the later one wins.
CLAIM = """
for _, key in ipairs(KEYS) do
  if redis.call('TYPE', key).ok ~= 'hash' then redis.call('DEL', key) end
  if tonumber(redis.call('HGET', key, 'epoch') or '0') < tonumber(ARGV[2]) then
    redis.call('HSET', key, 'epoch', ARGV[2])
    if redis.call('HGET', key, 'cluster') ~= ARGV[1] then
      redis.call('HSET', key, 'cluster', ARGV[1], 'offset', '-1')
    end
  end
end
"""
# The counter may have been lost while offsets kept their epochs, or the other way round (Redis emptied, restored from an
# older snapshot): the next epoch lies above both. Two claims at once get two epochs.
NEXT_EPOCH = """
local epoch = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), tonumber(ARGV[1])) + 1
redis.call('SET', KEYS[1], string.format('%.0f', epoch))
return epoch
"""
_Arg = bytes | str | int
# Bytes of values in one call. Redis drops a client that sends more than 1 GB; a jump in time of one wide stream is 8 MB.
MAX_CALL = 64 * 1024 * 1024
_Call = tuple[list[str], list[_Arg]]  # keys and arguments of a script


class ShardOps:
    """Writes of one shard, in order."""

    def __init__(self) -> None:
        self.writes: list[tuple[str, str, tuple[_Arg, ...]]] = []

    def size(self) -> int:
        """Bytes of all values."""
        return sum(len(arg) for _, _, args in self.writes for arg in args if isinstance(arg, bytes))

    def set(self, key: str, value: bytes) -> None:
        """SET."""
        self.writes.append(("SET", key, (value,)))

    def setrange(self, key: str, at: int, value: bytes) -> None:
        """SETRANGE at a byte offset."""
        self.writes.append(("SETRANGE", key, (at, value)))

    def delete(self, key: str) -> None:
        """DEL."""
        self.writes.append(("DEL", key, ()))

    def sadd(self, key: str, member: str) -> None:
        """SADD."""
        self.writes.append(("SADD", key, (member,)))

    def srem(self, key: str, member: str) -> None:
        """SREM."""
        self.writes.append(("SREM", key, (member,)))

    def rpush(self, key: str, value: bytes) -> None:
        """RPUSH."""
        self.writes.append(("RPUSH", key, (value,)))


class Ops:
    """Writes of one batch, grouped by shard."""

    def __init__(self) -> None:
        self.shards: dict[int, ShardOps] = {}

    def shard(self, shard: int) -> ShardOps:
        """The writes of one shard, to be added to."""
        return self.shards.setdefault(shard, ShardOps())


class Ledger:
    """Applied offsets of one topic, partition by partition, as this worker knows them."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        keys: Keys,
        topic: str,
        cluster: str,
        partitions: int,
    ) -> None:
        self.keys = keys
        self.topic = topic
        self.cluster = cluster
        self._client = client
        self._partitions = partitions
        self._clustered = is_cluster(client)
        self._script = client.register_script(SCRIPT)
        self._claim = client.register_script(CLAIM)
        self._next_epoch = client.register_script(NEXT_EPOCH)
        self._epochs: dict[int, int] = {}
        self._applied: dict[int, dict[int, int]] = {}

    async def claim(self, partition: int) -> int:
        """Take a partition over: a new owner epoch, which fences every earlier owner from now on."""
        offsets = [
            self.keys.stream_offset(shard, self.topic, partition)
            for shard in shards_of_partition(partition, self._partitions)
        ]
        stored = await self._stored(partition)
        known = max(self._epochs.get(partition, 0), *(epoch for epoch, _ in stored.values()))
        epoch = int(await self._next_epoch(keys=[self.keys.owner_epoch(self.topic, partition)], args=[known]))
        self._epochs[partition] = epoch
        calls = [[key] for key in offsets] if self._clustered else [offsets]
        for reply in await self._run(self._claim, [(keys, [self.cluster, epoch]) for keys in calls]):
            if isinstance(reply, Exception):
                raise reply
        await self.load(partition)
        return epoch

    async def load(self, partition: int) -> dict[int, int]:
        """Read the stored offsets: shard → last applied offset, -1 where none or from another cluster."""
        self._applied[partition] = {shard: offset for shard, (_, offset) in (await self._stored(partition)).items()}
        return self._applied[partition]

    async def kept(self, partition: int) -> bool:
        """Whether Redis still has what it is known to have: False after it was emptied or restored from an older state."""
        stored, known, epoch = await self._stored(partition), self._applied[partition], self._epochs[partition]
        return all(stored[shard] >= (epoch, known[shard]) for shard in known)

    async def _stored(self, partition: int) -> dict[int, tuple[int, int]]:
        """By shard: owner epoch, and last applied offset (-1 where none or from another cluster)."""
        shards = shards_of_partition(partition, self._partitions)
        pipe = self._client.pipeline(transaction=False)
        for shard in shards:
            pipe.hmget(self.keys.stream_offset(shard, self.topic, partition), ["cluster", "epoch", "offset"])
        rows = await _hashes(pipe)
        mine = self.cluster.encode()
        return {
            shard: (int(epoch or 0), int(offset) if cluster == mine else -1)
            for shard, (cluster, epoch, offset) in zip(shards, rows, strict=True)
        }

    def release(self, partition: int) -> None:
        """Forget a partition that is no longer ours."""
        self._epochs.pop(partition, None)
        self._applied.pop(partition, None)

    def applied(self, partition: int, shard: int) -> int:
        """Last applied offset of the shard, -1 when none."""
        return self._applied[partition][shard]

    def resume_at(self, partition: int) -> int:
        """Offset to read next so that no shard misses a record: smallest applied + 1 (0 when nothing is stored)."""
        return min(self._applied[partition].values()) + 1

    async def apply(self, partition: int, last_offset: int, ops: Ops) -> None:
        """Write a batch and move the offset of all shards of the partition to `last_offset`.

        Shards already beyond it keep their offset: a replayed batch may still write (a new notification number).

        Raises:
            FencedError: another worker owns the partition now.
            StateLostError: Redis was emptied or restored since the partition was claimed; `claim` again.
            OffsetConflictError: the stored offsets are not those that were loaded; `load` again.
            UnstorableError: a write is beyond what Redis can hold; nothing of its call has been written.
        """
        applied = self._applied[partition]
        for shards in self._portions(list(applied), ops):
            groups = [[shard] for shard in shards] if self._clustered else [shards]
            targets = [max(last_offset, max(applied[shard] for shard in group)) for group in groups]
            calls = [self._call(partition, group, target, ops) for group, target in zip(groups, targets, strict=True)]
            replies = await self._run(self._script, calls)
            failed: Exception | None = None
            for group, target, reply in zip(groups, targets, replies, strict=True):
                error = self._refused(partition, group, reply)
                if error is None:
                    applied.update(dict.fromkeys(group, target))
                elif failed is None or isinstance(error, FencedError):
                    failed = error
            if failed is not None:
                raise failed

    def _portions(self, shards: list[int], ops: Ops) -> Iterator[list[int]]:
        """Shards that are written together: as many as fit into `MAX_CALL`."""
        portion: list[int] = []
        size = 0
        for shard in shards:
            own = ops.shards[shard].size() if shard in ops.shards else 0
            if portion and size + own > MAX_CALL:
                yield portion
                portion, size = [], 0
            portion.append(shard)
            size += own
        if portion:
            yield portion

    async def _run(self, script: AsyncScript, calls: list[_Call]) -> list[Any]:
        """The replies of a script, one a call. On a cluster one round trip a node, and a reply may be an error."""
        if not self._clustered:
            return [await script(keys=keys, args=args) for keys, args in calls]
        replies = await self._pipelined(script, calls)
        missing = [index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if missing:  # a new node, or one that was started again
            await self._client.script_load(script.script)
            again = await self._pipelined(script, [calls[index] for index in missing])
            for index, reply in zip(missing, again, strict=True):
                replies[index] = reply
        return replies

    async def _pipelined(self, script: AsyncScript, calls: list[_Call]) -> list[Any]:
        pipe = self._client.pipeline(transaction=False)
        for keys, args in calls:
            pipe.execute_command("EVALSHA", script.sha, len(keys), *keys, *args)
        return list(await pipe.execute(raise_on_error=False))

    def _call(self, partition: int, group: list[int], target: int, ops: Ops) -> _Call:
        applied = self._applied[partition]
        keys = [self.keys.stream_offset(shard, self.topic, partition) for shard in group]
        index: dict[str, int] = {}
        tail: list[_Arg] = []
        count = 0
        for shard in group:
            for name, key, args in ops.shards[shard].writes if shard in ops.shards else ():
                position = index.get(key)
                if position is None:
                    keys.append(key)
                    position = index[key] = len(keys)
                tail += (name, position, len(args), *args)
                count += 1
        head: list[_Arg] = [self.cluster, self._epochs[partition], target, len(group), count]
        return keys, [*head, *(applied[shard] for shard in group), *tail]

    def _refused(self, partition: int, group: list[int], reply: Any) -> Exception | None:
        """Why a call has written nothing, None when it has."""
        if isinstance(reply, Exception):
            return reply
        if reply[0] == b"large":
            return UnstorableError(
                f"{int(reply[2])} bytes are too many for the key {reply[1].decode(errors='replace')}"
            )
        if reply[0] == b"ok" and len(reply) > 1:
            names = [key.decode(errors="replace") for key in reply[1:]]
            log.warning("keys of another kind are replaced: does somebody else write under --namespace?", keys=names)
        if reply[0] == b"fenced":
            return FencedError(
                f"partition {partition} of {self.topic} belongs to owner epoch {reply[1].decode()} now; "
                f"this worker has {self._epochs[partition]}"
            )
        if reply[0] == b"lost":
            shard = group[int(reply[1])]
            return StateLostError(
                f"partition {partition} of {self.topic}, shard {shard}: Redis has lost data, its offset is "
                f"{reply[2].decode()} and was {self._applied[partition][shard]}"
            )
        if reply[0] == b"conflict":
            shard = group[int(reply[1])]
            return OffsetConflictError(
                f"partition {partition} of {self.topic}, shard {shard}: expected offset {self._applied[partition][shard]}, "
                f"stored is {reply[2].decode()}"
            )
        return None


async def _hashes(pipe: Pipeline) -> list[Any]:
    """Fields of hashes, none of a key of another kind: a claim replaces that."""
    rows = await pipe.execute(raise_on_error=False)
    for at, row in enumerate(rows):
        if isinstance(row, Exception):
            if "WRONGTYPE" not in str(row):
                raise row
            rows[at] = [None, None, None]
    return rows
