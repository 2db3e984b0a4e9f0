-- Whether a message would be taken: put one at the end of a queue and remove it. ARGV: queue.
redis.call('LPUSH', prefix .. ARGV[1], '')
redis.call('LREM', prefix .. ARGV[1], 1, '')
return 1
