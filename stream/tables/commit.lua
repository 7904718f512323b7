#!lua
-- Write one commit of one shard, or nothing. Because of the first line the server refuses to start the script while it is full, read-only or without
-- replicas. Every check comes before the first write.
-- KEYS: shard, view, then the keys of the writes and of the counted sets, by position.
-- ARGV: nonce, epoch, batch, start ('': none), end ('': none), source, state and summary ('': unchanged), committed_at, layout,
--       packed {writes {command, keys, arguments of each key, arguments}, counted sets {key, name}, bounds {after, until}, hashes to delete}, trim ('': none),
--       recent, health,
--       batch that must be the last one stored ('': none; absent: not known).
local nonce, epoch, batch, start = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local owner, stored_epoch, offset, last = unpack(redis.call('HMGET', KEYS[1], 'nonce', 'epoch', 'offset', 'batch'))

if last == batch then
  return 'repeated'
end
if not owner or tonumber(stored_epoch) < epoch then
  return 'rewound'
end
if owner ~= nonce then
  return 'stolen'
end
if tonumber(stored_epoch) > epoch or (offset or '') ~= start or (ARGV[15] and (last or '') ~= ARGV[15]) then
  return 'rewound'
end

local writes, counted, bounds, deleted = unpack(cmsgpack.unpack(ARGV[11]))
for _, write in ipairs(writes) do
  local command, keys, sizes, arguments = unpack(write)
  local last = 0
  for i, size in ipairs(sizes) do
    redis.call(command, KEYS[keys[i]], unpack(arguments, last + 1, last + size))
    last = last + size
  end
end

-- Field by field, so that the user needs no right to delete keys; 400 of them are fewer than Lua's unpack allows.
for _, key in ipairs(deleted) do
  local entries, fields = redis.call('HGETALL', KEYS[key]), {}
  for i = 1, #entries, 2 do
    fields[#fields + 1] = entries[i]
  end
  for i = 1, #fields, 400 do
    redis.call('HDEL', KEYS[key], unpack(fields, i, math.min(i + 399, #fields)))
  end
end

if #counted > 0 then
  local stored = redis.call('HGET', KEYS[2], 'counts')
  local counts = stored and cmsgpack.unpack(stored) or {}
  for _, set in ipairs(counted) do
    local key, name = KEYS[set[1]], set[2]
    if ARGV[12] ~= '' then
      redis.call('ZREMRANGEBYSCORE', key, '-inf', ARGV[12])
    end
    if redis.call('EXISTS', key) == 1 then
      local members = {}
      for i, bound in ipairs(bounds) do
        members[i] = redis.call('ZCOUNT', key, '(' .. bound[1], bound[2])
      end
      counts[name] = members
    else
      counts[name] = nil
    end
  end
  if next(counts) then
    redis.call('HSET', KEYS[2], 'counts', cmsgpack.pack(counts))
  else
    redis.call('HDEL', KEYS[2], 'counts')
  end
end

redis.call('HSET', KEYS[2], 'layout', ARGV[10], 'committed_at', ARGV[9], 'recent', ARGV[13], 'health', ARGV[14])
if ARGV[8] ~= '' then
  redis.call('HSET', KEYS[2], 'summary', ARGV[8])
end
-- In one command, so that a stored batch id always means a stored offset.
local shard = {'layout', ARGV[10], 'source', ARGV[6], 'batch', batch}
for name, value in pairs({state = ARGV[7], offset = ARGV[5]}) do
  if value ~= '' then
    shard[#shard + 1], shard[#shard + 2] = name, value
  end
end
redis.call('HSET', KEYS[1], unpack(shard))
return 'applied'
