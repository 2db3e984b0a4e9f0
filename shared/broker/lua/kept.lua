-- Something of the job is kept, and whoever gets it next goes on from there: what it met before says
-- nothing about it any more. ARGV: lease. Returns 1, or 0 if the lease was lost.
also_when_full()
local held = redis.call('HGET', prefix .. 'unacked', ARGV[1])
if not held then
  return 0
end
local queue, worker, where, item = unpack(split(held, 4))
local anew = queue .. '\n' .. worker .. '\n' .. where .. '\n' .. with_history(item, '{}')
redis.call('HSET', prefix .. 'unacked', ARGV[1], anew)
return 1
