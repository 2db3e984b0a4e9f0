-- How the job of one line of a backlog ended. ARGV: backlog, line, "done" or "failed:<reason>",
-- how long the backlog is remembered in s. Saying it again changes nothing; done beats failed.
-- Returns 1 if that was new.
local base, line, outcome = prefix .. 'backlog:' .. ARGV[1] .. ':', ARGV[2], ARGV[3]
if redis.call('GETBIT', base .. 'done', line) == 1 then
  return 0
end
if redis.call('GETBIT', base .. outcome, line) == 1 then
  return 0
end
for _, other in ipairs(redis.call('SMEMBERS', base .. 'outcomes')) do
  if redis.call('GETBIT', base .. other, line) == 1 then
    redis.call('SETBIT', base .. other, line, 0)
  end
end
redis.call('SETBIT', base .. outcome, line, 1)
redis.call('SADD', base .. 'outcomes', outcome)
local minute = math.floor(now / 60000)
redis.call('HINCRBY', base .. 'minutes', minute, 1)
redis.call('HDEL', base .. 'minutes', minute - 15, minute - 16, minute - 17)
for _, key in ipairs({ outcome, 'outcomes', 'minutes' }) do
  redis.call('EXPIRE', base .. key, ARGV[4])
end
return 1
