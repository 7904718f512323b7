#!lua flags=no-writes
-- Read records of the history of one shard at one moment.
-- KEYS: view, shard, then the records. ARGV: how many bytes may be read.
-- Returns recent, state, and for each record the packed lengths and the concatenation of its fields and values; false if there are too many bytes.
local records, left = {}, tonumber(ARGV[1])
for i = 3, #KEYS do
  local fields, lengths = redis.call('HGETALL', KEYS[i]), {}
  for j, field in ipairs(fields) do
    lengths[j] = #field
  end
  local joined = table.concat(fields)
  left = left - #joined
  if left < 0 then
    return {false, false, false}
  end
  records[#records + 1], records[#records + 2] = cmsgpack.pack(lengths), joined
end
return {redis.call('HGET', KEYS[1], 'recent'), redis.call('HGET', KEYS[2], 'state'), records}
