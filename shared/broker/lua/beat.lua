-- A worker lives, and so do these of its leases. ARGV: worker, what it says about itself, timeout
-- in ms, lease... Returns 1 for each lease that it still holds, else 0.
local worker, about, timeout_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
also_when_full()
clock_jumped(timeout_ms)
redis.call('ZADD', prefix .. 'workers', now, worker)
redis.call('HSET', prefix .. 'workers:about', worker, about)
local hour_ago = now - 3600 * 1000
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'workers', '-inf', hour_ago)) do
  redis.call('ZREM', prefix .. 'workers', gone)
  redis.call('HDEL', prefix .. 'workers:about', gone)
end
local held = {}
for i = 4, #ARGV do
  held[#held + 1] = redis.call('HEXISTS', prefix .. 'unacked', ARGV[i])
  redis.call('ZADD', prefix .. 'leases', 'XX', now + timeout_ms, ARGV[i])
end
return held
