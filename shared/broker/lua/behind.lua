-- Results that could not be told go behind the rest. ARGV: the group of senders, then of each its place
-- and its event... One that fell out meanwhile, or that another sender has put behind, stays gone.
local results = prefix .. 'results'
for i = 2, #ARGV, 2 do
  -- First what needs no memory: then a full Redis adds it all the same.
  redis.call('XACK', results, ARGV[1], ARGV[i])
  if redis.call('XDEL', results, ARGV[i]) == 1 then
    redis.call('XADD', results, '*', 'event', ARGV[i + 1], 'late', '1')
  end
end
