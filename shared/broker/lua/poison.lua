-- Set aside what is not a message. ARGV: lease, reason. Returns 1, or 0 if the lease was lost.
local held = end_lease(ARGV[1])
if not held then
  return 0
end
set_aside(held[1], ARGV[2], held[4])
return 1
