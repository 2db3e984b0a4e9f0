-- What the bucket says about one stretch of a backlog, laid over what was counted. ARGV: backlog,
-- how long it is remembered in s, first byte of the bitmaps, then for each outcome its name, the bits
-- to set and the bits to clear, as bytes. The first outcome is "done", which beats all others: also
-- where it was noted since the bucket was asked.
local base, first = prefix .. 'backlog:' .. ARGV[1] .. ':', tonumber(ARGV[3])
local done = {}
for i = 4, #ARGV, 3 do
  local key, set, clear = base .. ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local was = redis.call('GETRANGE', key, first, first + #set - 1)
  local bytes = {}
  for at = 1, #set do
    local byte = bit.band(string.byte(was, at) or 0, bit.bnot(string.byte(clear, at)))
    byte = bit.band(bit.bor(byte, string.byte(set, at)), bit.bnot(done[at] or 0))
    bytes[at] = string.char(byte)
    if i == 4 then
      done[at] = byte
    end
  end
  redis.call('SETRANGE', key, first, table.concat(bytes))
  redis.call('EXPIRE', key, ARGV[2])
  redis.call('SADD', base .. 'outcomes', ARGV[i])
end
redis.call('EXPIRE', base .. 'outcomes', ARGV[2])
return 1
