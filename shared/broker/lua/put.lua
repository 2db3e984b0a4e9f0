-- Put messages at the end of a queue. ARGV: queue, and as put_new.
local queue = ARGV[1]
local put = put_new(queue, 2)
if put > 0 then
  count_put(queue, put)
end
return redis.call('LLEN', prefix .. queue)
