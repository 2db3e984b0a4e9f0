-- Done with messages. ARGV: lease... Returns how many of them were still held.
local held = 0
for i = 1, #ARGV do
  held = held + redis.call('HDEL', prefix .. 'unacked', ARGV[i])
  redis.call('ZREM', prefix .. 'leases', ARGV[i])
end
return held
