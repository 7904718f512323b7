#!lua
-- Store how many partitions an input topic has.
-- KEYS: topics. ARGV: topic, the packed record, '1' to replace what is stored.
-- Returns what is stored then.
local stored = redis.call('HGET', KEYS[1], ARGV[1])
if stored and ARGV[3] ~= '1' then
  return stored
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return ARGV[2]
