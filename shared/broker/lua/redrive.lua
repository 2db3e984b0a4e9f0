-- Put what was set aside back at the end of its queue, as new, if it is still set aside.
-- ARGV: entry of the poison list... Returns how many were.
local back = 0
for _, entry in ipairs(ARGV) do
  if redis.call('LREM', prefix .. 'poison', -1, entry) == 1 then
    local _, queue, _, item = unpack(split(entry, 4))
    put_last(queue, with_history(item, ''))
    back = back + 1
  end
end
return back
