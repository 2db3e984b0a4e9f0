-- The work of a message in hand is more than the one unit that its turn counted, or less: so its
-- tenant comes later, or sooner. ARGV: lease, how many units more. Returns 1; or 0: the lease was
-- lost, or nobody shares its class.
local held = redis.call('HGET', prefix .. 'unacked', ARGV[1])
local queue, _, where = unpack(held and split(held, 4) or {})
local tenant = where and tenant_in(where)
if not tenant then
  return 0
end
move_back(queue, tenant, tonumber(ARGV[2]))
return 1
