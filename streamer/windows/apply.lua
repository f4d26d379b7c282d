-- One batch of one partition, all shards in one call: compare the stored offsets and epochs, then write data and
-- move the offsets. Nothing is written unless every shard agrees and every write will succeed: an error after the first
-- write would leave half a batch behind, for Redis takes nothing back.
-- ARGV: cluster, epoch, new offset, number of shards, number of ops; a previous offset a shard; the ops, each
--   name, index into KEYS, number of arguments, arguments
-- KEYS: the shards' offset hashes, then the keys of the ops
-- Reply: {'ok', key, …} (keys of another type that were replaced) | {'fenced', epoch} |
--   {'lost', shard index, stored offset} | {'conflict', shard index, stored offset} | {'large', key, bytes}
-- A claim has written this epoch to every hash: one that has a smaller epoch, or none, or an offset behind ours, stands in a
-- Redis that was emptied or restored since.
local LARGEST = 512 * 1024 * 1024
local TYPES = {SETRANGE = 'string', SADD = 'set', SREM = 'set', RPUSH = 'list'}
local cluster, epoch, new = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local shards, ops = tonumber(ARGV[4]), tonumber(ARGV[5])
for i = 1, shards do
  local stored = redis.pcall('HMGET', KEYS[i], 'cluster', 'epoch', 'offset')
  if stored.err then stored = {false, false, false} end
  local owner, offset = tonumber(stored[2] or '0'), stored[1] == cluster and stored[3] or '-1'
  if owner > epoch then return {'fenced', stored[2]} end
  if owner < epoch or tonumber(offset) < tonumber(ARGV[5 + i]) then return {'lost', i - 1, offset} end
  if offset ~= ARGV[5 + i] then return {'conflict', i - 1, offset} end
end
local reply, checked = {'ok'}, {}
local function replace(key, wanted)
  local found = redis.call('TYPE', key).ok
  if found ~= wanted and found ~= 'none' then table.insert(reply, key) end
end
local at = 5 + shards
for _ = 1, ops do
  local name, index, count = ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  if name == 'SETRANGE' then
    local size = tonumber(ARGV[at + 4]) + #ARGV[at + 5]
    if size > LARGEST then return {'large', KEYS[index], size} end
  end
  if TYPES[name] and not checked[index] then replace(KEYS[index], TYPES[name]) end
  checked[index] = true
  at = at + 3 + count
end
for i = 2, #reply do redis.call('DEL', reply[i]) end
at = 5 + shards
for _ = 1, ops do
  local key, count = KEYS[tonumber(ARGV[at + 2])], tonumber(ARGV[at + 3])
  redis.call(ARGV[at + 1], key, unpack(ARGV, at + 4, at + 3 + count))
  at = at + 3 + count
end
for i = 1, shards do
  redis.call('HSET', KEYS[i], 'cluster', cluster, 'epoch', epoch, 'offset', new)
end
return reply
