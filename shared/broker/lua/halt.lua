-- Of a backlog nothing is fed any more. ARGV: backlog, a line that it does not have, how long that is
-- remembered in s, XX: only if something of it was fed. Also when Redis is full (see common.lua): no
-- delayed message has an empty name.
redis.call('ZREM', prefix .. 'delayed', '')
redis.call('SET', prefix .. 'backlog:' .. ARGV[1] .. ':fed', ARGV[2], 'EX', unpack(ARGV, 3))
return 1
