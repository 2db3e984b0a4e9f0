-- Give back a message whose take was not answered: it was taken, will be taken late, or never.
-- ARGV: lease. Returns 1 if it was taken. If not, that take finds that nobody wants it any more.
also_when_full()
local held = end_lease(ARGV[1])
if held then
  local queue, _, where, item = unpack(held)
  put_first(queue, traced(item, was_not_had), tenant_in(where))
  return 1
end
redis.call('SET', prefix .. 'void:' .. ARGV[1], '1', 'EX', 3600)
return 0
