#!lua
-- Register labels in the order of the request, as long as a name has fewer values than its bound.
-- KEYS: labels. ARGV: number of bounds, then name and bound of each, then name and value of each label.
-- Returns all entries, `name=value`, in the order of their registration.
local entries, known, values, bounds = redis.call('LRANGE', KEYS[1], 0, -1), {}, {}, {}
for _, entry in ipairs(entries) do
  local name = string.match(entry, '^[^=]+')
  known[entry] = true
  values[name] = (values[name] or 0) + 1
end

local first = 2 + 2 * tonumber(ARGV[1])
for i = 2, first - 1, 2 do
  bounds[ARGV[i]] = tonumber(ARGV[i + 1])
end
for i = first, #ARGV, 2 do
  local name, entry = ARGV[i], ARGV[i] .. '=' .. ARGV[i + 1]
  if not known[entry] and (values[name] or 0) < (bounds[name] or 0) then
    redis.call('RPUSH', KEYS[1], entry)
    known[entry] = true
    values[name] = (values[name] or 0) + 1
    entries[#entries + 1] = entry
  end
end
return entries
