-- Set aside what is not a message. ARGV: lease, reason. Returns 1, or 0 if the lease was lost.
local held = end_lease(ARGV[1])
if not held then
  return 0
end
local evidence = now .. '\n' .. held[1] .. '\n' .. ARGV[2] .. '\n' .. held[4]
redis.call('LPUSH', prefix .. 'poison', evidence)
return 1
