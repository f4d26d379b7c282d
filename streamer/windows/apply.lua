-- One batch of one partition, all shards in one call: compare the stored offsets and epochs, then write data and
-- move the offsets. Nothing is written unless every shard agrees.
-- ARGV: cluster, epoch, new offset, number of shards, number of ops; a previous offset a shard; the ops, each
--   name, index into KEYS, number of arguments, arguments
-- KEYS: the shards' offset hashes, then the keys of the ops
-- Reply: {'ok'} | {'fenced', epoch} | {'lost', shard index, stored offset} | {'conflict', shard index, stored offset}
-- A claim has written this epoch to every hash: one that has a smaller epoch, or none, or an offset behind ours, stands in a
-- Redis that was emptied or restored since.
local cluster, epoch, new = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local shards, ops = tonumber(ARGV[4]), tonumber(ARGV[5])
for i = 1, shards do
  local stored = redis.call('HMGET', KEYS[i], 'cluster', 'epoch', 'offset')
  local owner, offset = tonumber(stored[2] or '0'), stored[1] == cluster and stored[3] or '-1'
  if owner > epoch then return {'fenced', stored[2]} end
  if owner < epoch or tonumber(offset) < tonumber(ARGV[5 + i]) then return {'lost', i - 1, offset} end
  if offset ~= ARGV[5 + i] then return {'conflict', i - 1, offset} end
end
local at = 5 + shards
for _ = 1, ops do
  local key, count = KEYS[tonumber(ARGV[at + 2])], tonumber(ARGV[at + 3])
  redis.call(ARGV[at + 1], key, unpack(ARGV, at + 4, at + 3 + count))
  at = at + 3 + count
end
for i = 1, shards do
  redis.call('HSET', KEYS[i], 'cluster', cluster, 'epoch', epoch, 'offset', new)
end
return {'ok'}
