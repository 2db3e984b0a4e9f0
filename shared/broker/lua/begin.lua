-- The job of a message that runs alone begins: from here on a death of its worker is its own.
-- ARGV: lease, timeout in ms. Returns 1, or 0 if the lease was lost.
also_when_full()
local held = redis.call('HGET', prefix .. 'unacked', ARGV[1])
if not held then
  return 0
end
local queue, worker, _, item = unpack(split(held, 4))
local begun = queue .. '\n' .. worker .. '\nbegun\n' .. item
redis.call('HSET', prefix .. 'unacked', ARGV[1], begun)
redis.call('ZADD', prefix .. 'leases', 'XX', now + tonumber(ARGV[2]), ARGV[1])
return 1
