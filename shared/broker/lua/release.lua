-- Give a message back, now or later. ARGV: lease, delay in ms, history ('-': as it was), which error
-- the try met (a word, or nothing). What was not tried and comes later is for somebody else, and
-- goes behind what waits. Returns 1, or 0 if the lease was lost.
local held = end_lease(ARGV[1])
if not held then
  return 0
end
local queue, item, where, tenant = held[1], held[4], 'last', tenant_in(held[3])
if ARGV[3] ~= '-' then
  item, where = with_history(item, ARGV[3]), 'first ' .. ARGV[4]
else
  item = came_back(item)
end
local delay_ms = tonumber(ARGV[2])
if delay_ms > 0 then
  local name = tenant and ARGV[1] .. '@' .. tenant or ARGV[1]
  local member = name .. '\n' .. queue .. '\n' .. where .. '\n' .. item
  redis.call('ZADD', prefix .. 'delayed', now + delay_ms, member)
else
  put_first(queue, item, tenant)
end
return 1
