-- Put messages at the end of a queue. ARGV: queue, message...
local queue = ARGV[1]
for i = 2, #ARGV do
  redis.call('LPUSH', prefix .. queue, now .. '\n\n' .. ARGV[i])
end
wake(queue)
if #ARGV > 1 then
  count_put(queue, #ARGV - 1)
end
return redis.call('LLEN', prefix .. queue)
