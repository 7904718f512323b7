#!lua
-- Store why a shard is halted, unless it has another owner.
-- KEYS: shard, view. ARGV: the owner's nonce ('': the shard has no owner), the packed halt.
-- Returns 1 if it was stored.
if (redis.call('HGET', KEYS[1], 'nonce') or '') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[2], 'halt', ARGV[2])
return 1
