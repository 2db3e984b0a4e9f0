-- What the bucket says about one stretch of a backlog, laid over what was counted. ARGV: backlog,
-- how long it is remembered in s, first byte of the bitmaps, then for each outcome its name, the bits
-- to set and the bits to clear, as bytes.
local base, first = prefix .. 'backlog:' .. ARGV[1] .. ':', tonumber(ARGV[3])
for i = 4, #ARGV, 3 do
  local key, set, clear = base .. ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local was = redis.call('GETRANGE', key, first, first + #set - 1)
  local bytes = {}
  for at = 1, #set do
    local byte = bit.band(string.byte(was, at) or 0, bit.bnot(string.byte(clear, at)))
    bytes[at] = string.char(bit.bor(byte, string.byte(set, at)))
  end
  redis.call('SETRANGE', key, first, table.concat(bytes))
  redis.call('EXPIRE', key, ARGV[2])
  redis.call('SADD', base .. 'outcomes', ARGV[i])
end
redis.call('EXPIRE', base .. 'outcomes', ARGV[2])
return 1
