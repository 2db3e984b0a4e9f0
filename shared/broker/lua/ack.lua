-- Done with messages. ARGV: lease, the event that tells its result or nothing... Returns how many of
-- them were still held. Whoever lost one tells nothing: somebody else has it, and finds its record.
local MOST_EVENTS = 100000

local function tell(event)
  local results = prefix .. 'results'
  redis.call('XADD', results, '*', 'event', event)
  if redis.call('XLEN', results) > MOST_EVENTS then
    local gone = redis.call('XTRIM', results, 'MAXLEN', MOST_EVENTS)
    redis.call('HINCRBY', prefix .. 'results:dropped', 'ever', gone)
  end
end

local held = 0
for i = 1, #ARGV, 2 do
  local lease, event = ARGV[i], ARGV[i + 1]
  -- First: it needs no memory, and lets what follows be written also when Redis is full.
  local was_held = redis.call('HDEL', prefix .. 'unacked', lease)
  redis.call('ZREM', prefix .. 'leases', lease)
  if was_held == 1 and event ~= '' then
    tell(event)
  end
  held = held + was_held
end
return held
