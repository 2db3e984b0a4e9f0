-- A worker lives, and so do these of its leases. ARGV: worker, what it says about itself, timeout
-- in ms, its card, how fast that is and what it took to start (or nothing), lease... Returns 1 for
-- each lease that it still holds, else 0.
local worker, about, timeout_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local card, rate, start = ARGV[4], ARGV[5], ARGV[6]

-- What the next workers of this card are expected to do, when this one is gone.
local MOST_STARTS = 50

local function remember_start()
  local starts = {}
  local known = redis.call('HGET', prefix .. 'learned', 'starts:' .. card) or ''
  for one in string.gmatch(known .. ' ' .. start, '%S+') do
    starts[#starts + 1] = one
  end
  local first = math.max(1, #starts - MOST_STARTS + 1)
  redis.call('HSET', prefix .. 'learned', 'starts:' .. card, table.concat(starts, ' ', first))
end

also_when_full()
clock_jumped(timeout_ms)
local is_new = redis.call('ZADD', prefix .. 'workers', now, worker) == 1
redis.call('HSET', prefix .. 'workers:about', worker, about)
local hour_ago = now - 3600 * 1000
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'workers', '-inf', hour_ago)) do
  redis.call('ZREM', prefix .. 'workers', gone)
  redis.call('HDEL', prefix .. 'workers:about', gone)
end
if card ~= '' and rate ~= '' then
  redis.call('HSET', prefix .. 'learned', 'rate:' .. card, rate)
end
if card ~= '' and start ~= '' and is_new then
  remember_start()
end
local held = {}
for i = 7, #ARGV do
  held[#held + 1] = redis.call('HEXISTS', prefix .. 'unacked', ARGV[i])
  redis.call('ZADD', prefix .. 'leases', 'XX', now + timeout_ms, ARGV[i])
end
return held
