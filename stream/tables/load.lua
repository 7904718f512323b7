#!lua flags=no-writes
-- Read fields of hashes, and return them as two strings: a client in Python takes ten microseconds to read each separate value.
-- KEYS: shard, entities and customers of layout 1, then hashes. ARGV: packed {positions of keys, fields}; how many bytes of values are enough; how many of
-- the fields are entities, so that what is not found is looked for in layout 1 ('': there is none).
-- Returns the packed lengths in the order of the request (-1: no such field), the concatenated values, and the shard's nonce, epoch and offset.
-- When there are enough bytes, the remaining fields are left out.
local lengths, values, room, entities = {}, {}, tonumber(ARGV[2]), tonumber(ARGV[3])
local keys, fields = unpack(cmsgpack.unpack(ARGV[1]))
for i, field in ipairs(fields) do
  if room <= 0 then
    break
  end
  local value = redis.call('HGET', KEYS[keys[i]], field)
  if not value and entities then
    value = redis.call('HGET', KEYS[i <= entities and 2 or 3], field)
  end
  if value then
    values[#values + 1] = value
    room = room - #value
  end
  lengths[i] = value and #value or -1
end
return {cmsgpack.pack(lengths), table.concat(values), unpack(redis.call('HMGET', KEYS[1], 'nonce', 'epoch', 'offset'))}
