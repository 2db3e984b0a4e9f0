-- Put messages at the end of a queue. ARGV: queue, and as put_new.
put_new(ARGV[1], 2)
return redis.call('LLEN', prefix .. ARGV[1])
