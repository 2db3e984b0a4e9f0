-- Put what was set aside back at the end of its queue, as new, if it is still set aside.
-- ARGV: an entry of the poison list, its tenant and that one's weight, and the message to put instead,
-- if any... Returns how many were.
local back = 0
for i = 1, #ARGV, 4 do
  if redis.call('LREM', prefix .. 'poison', -1, ARGV[i]) == 1 then
    local _, queue, _, item = unpack(split(ARGV[i], 4))
    local instead = ARGV[i + 3] or ''
    if instead ~= '' then
      local enqueued, history = parse(item)
      item = enqueued .. '\n' .. history .. '\n' .. instead
    end
    local tenant = ARGV[i + 1] ~= OTHER and ARGV[i + 1] or nil
    if tenant then
      redis.call('ZADD', prefix .. 'tenants', ARGV[i + 2], tenant)
    end
    put_last(queue, came_back(with_history(item, '')), tenant)
    back = back + 1
  end
end
return back
