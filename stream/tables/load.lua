#!lua flags=no-writes
-- Fields of hashes in two strings, because a client in Python takes ten microseconds to read a value of its own.
-- KEYS: shard, then hashes. ARGV: packed, for each hash, chunks of fields; how many bytes of values are enough.
-- Returns the packed lengths in the order asked, -1 where there is none, the values one behind the other, and the shard's nonce, epoch and offset.
-- Once there are enough, the chunks that are left are not answered.
local lengths, values, room = {}, {}, tonumber(ARGV[2])
for i, chunks in ipairs(cmsgpack.unpack(ARGV[1])) do
  for _, fields in ipairs(chunks) do
    if room > 0 then
      for _, value in ipairs(redis.call('HMGET', KEYS[i + 1], unpack(fields))) do
        if value then
          values[#values + 1] = value
          room = room - #value
        end
        lengths[#lengths + 1] = value and #value or -1
      end
    end
  end
end
return {cmsgpack.pack(lengths), table.concat(values), unpack(redis.call('HMGET', KEYS[1], 'nonce', 'epoch', 'offset'))}
