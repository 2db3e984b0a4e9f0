-- The work of a message in hand is more than the one unit that its turn counted, or less: so its
-- tenant comes later, or sooner, but never before who is first. ARGV: lease, how many units more.
-- Returns 1; or 0: the lease was lost, or nobody shares its class.
local held = redis.call('HGET', prefix .. 'unacked', ARGV[1])
local queue, _, where = unpack(held and split(held, 4) or {})
local tenant = where and tenant_in(where)
if not tenant then
  return 0
end
local shares = shares_of(queue)
local first = tonumber(redis.call('ZRANGE', shares, 0, 0, 'WITHSCORES')[2]) or 0
local place = tonumber(redis.call('ZSCORE', shares, tenant) or first)
place = place + tonumber(ARGV[2]) / weight_of(tenant)
redis.call('ZADD', shares, math.max(place, first), tenant)
return 1
