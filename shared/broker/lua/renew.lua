-- ARGV: lease, timeout in ms. Returns 1 if it is still held, for another timeout, else 0.
also_when_full()
if redis.call('HEXISTS', prefix .. 'unacked', ARGV[1]) == 0 then
  return 0
end
redis.call('ZADD', prefix .. 'leases', 'XX', now + tonumber(ARGV[2]), ARGV[1])
return 1
