-- Put one stretch of a backlog at the end of a queue, once, whoever feeds it.
-- ARGV: queue, backlog, from, to, how long the backlog is remembered in s, and as put_new.
-- Returns how far the backlog is fed, and whether it was this stretch that went there.
local queue, from, to = ARGV[1], tonumber(ARGV[3]), ARGV[4]
local place = prefix .. 'backlog:' .. ARGV[2] .. ':fed'
local fed = tonumber(redis.call('GET', place) or from)
if fed ~= from then
  return { fed, 0 }
end
put_new(queue, 6)
redis.call('SET', place, to, 'EX', ARGV[5])
return { tonumber(to), 1 }
