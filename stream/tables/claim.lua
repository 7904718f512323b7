#!lua
-- Claim a shard. With the nonce of the present owner nothing changes, so a claim may be repeated.
-- KEYS: shard, panes, view, the keys that only layout 1 has. ARGV: nonce, layout.
-- Returns layout, epoch, offset, batch, source, state, panes, recent, how many keys of layout 1 there are, health. If the stored layout is newer, it claims
-- nothing and returns the layout alone.
local layout, owner, epoch, offset, batch, source, state =
  unpack(redis.call('HMGET', KEYS[1], 'layout', 'nonce', 'epoch', 'offset', 'batch', 'source', 'state'))

if layout and tonumber(layout) > tonumber(ARGV[2]) then
  return {layout}
end
if owner ~= ARGV[1] then
  epoch = string.format('%d', (tonumber(epoch) or 0) + 1)
  redis.call('HSET', KEYS[1], 'layout', ARGV[2], 'nonce', ARGV[1], 'epoch', epoch)
end
redis.call('HDEL', KEYS[3], 'halt')
local panes, left = redis.call('HGETALL', KEYS[2]), redis.call('EXISTS', unpack(KEYS, 4))
local recent, health = unpack(redis.call('HMGET', KEYS[3], 'recent', 'health'))
return {ARGV[2], epoch, offset, batch, source, state, panes, recent, left, health}
