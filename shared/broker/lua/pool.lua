-- The next messages of a tenant go to the end of the list that is nobody's: workers of an older
-- version look nowhere else. ARGV: queue, tenant, how many at most. Returns how many there were.
local queue, list = ARGV[1], list_of(ARGV[1], ARGV[2])
local items = redis.call('LRANGE', list, -tonumber(ARGV[3]), -1)
for i = #items, 1, -1 do
  redis.call('LREM', list, -1, items[i])
  redis.call('LPUSH', prefix .. queue, items[i])
end
wake(queue)
return #items
