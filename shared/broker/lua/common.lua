-- Put before every other script of this folder. A prefix holds:
--
--   <queue>           list    items that wait; the next one is at the right end
--   <queue>@<tenant>  list    those of a tenant; those of the tenant "other" are in <queue>
--   <queue>:alone     list    items that may have killed their workers, to be run alone
--   <queue>:wake      list    at most one token: whoever gets it goes and looks
--   <class>:shares    zset    tenant -> its place, of those that wait in the queue <class> or
--                             <class>.bulk, and some that did; empty while no tenants wait
--   tenants           zset    tenant -> its weight
--   unacked           hash    lease -> queue, worker, "alone", "begun" (alone), "@<tenant>" (whose
--                             turn it was) or "", item
--   leases            zset    lease -> when it ends, in ms
--   delayed           zset    lease (and "@<tenant>"), queue, "first" and the error that the try
--                             met or "last", item -> when it is due, in ms
--   poison            list    what was set aside, the newest at the left end: when in ms, queue, why,
--                             item
--   workers           zset    worker -> its last beat, in ms
--   workers:about     hash    worker -> what it says about itself
--   run               string  the server's run, as seen by the last sweep
--   clock             hash    "swept": when lost leases were last looked for, "seen": when a worker
--                             was last here, in ms
--   held              zset    worker that takes nothing, for its pod is to go -> until when, in ms
--   void:<lease>      string  its take was given up before it came
--   taken             hash    queue -> how many messages were taken from it, ever; also
--                             <queue>@<tenant>, since tenants share it
--   put:<queue>:<n>   string  minute (n is it modulo 16), how many messages were put there in it; no
--                             backlog's
--   learned           hash    "rate:<card>": units a second of a worker that had its hands full,
--                             "starts:<card>": what the last workers took to start, in s
--   backlog:<name>:…          see shared/broker/backlog_progress.py
--
-- An item is `<enqueued, ms>\n<history>\n<message>`; the history is empty, until the message comes
-- back, or JSON: attempt, deaths and deaths_alone. All times are the server's, so no other clock matters.

local prefix = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function split(text, parts)
  local found, start = {}, 1
  for _ = 1, parts - 1 do
    local stop = string.find(text, '\n', start, true)
    if not stop then
      return nil
    end
    found[#found + 1] = string.sub(text, start, stop - 1)
    start = stop + 1
  end
  found[#found + 1] = string.sub(text, start)
  return found
end

-- enqueued, history, message. What was pushed by others may lack the first two.
local function parse(item)
  local enqueued, history, start = string.match(item, '^(%d+)\n([^\n]*)\n()')
  if not enqueued or #enqueued > 15 or #history > 10000 then
    return '0', '', item
  end
  return enqueued, history, string.sub(item, start)
end

local function history_of(item)
  local _, history = parse(item)
  local fine, told = pcall(cjson.decode, history)
  told = fine and type(told) == 'table' and told or {}
  -- Nothing that lies in a queue may stop the others.
  local clean = { workers = {} }
  for _, kind in ipairs({ 'attempt', 'deaths', 'deaths_alone', 'hangs' }) do
    local count = tonumber(told[kind]) or 0
    clean[kind] = count >= 0 and count < 1e6 and math.floor(count) or 0
  end
  clean.attempt = math.max(clean.attempt, 1)
  if type(told.workers) == 'table' then
    for _, name in ipairs(told.workers) do
      table.insert(clean.workers, tostring(name))
    end
  end
  return clean
end

local function with_history(item, history)
  local enqueued, _, message = parse(item)
  return enqueued .. '\n' .. history .. '\n' .. message
end

-- It was in somebody's hands, who did nothing that counts. How long ago it was put tells nothing of how
-- long others have to wait: see producer/scaling/reading.py.
local function came_back(item)
  local _, history = parse(item)
  return history == '' and with_history(item, '{}') or item
end

-- A message that is traced says in its header `tracestate` who had it last: the span of that attempt,
-- when it was taken in ms, "+", or "x" if its lease was lost, and the span of the attempt before. See
-- shared/telemetry/trace_headers.py. `change` gets the four and returns them; their lengths stay.
local TRACESTATE = '"tracestate": "jamak='

local function traced(item, change)
  local _, stop = string.find(item, TRACESTATE, 1, true)
  if not stop then
    return item
  end
  local last, at, how, before = string.match(item, '^(%x+)%.(%d+)%.([+x])%.(%x+)"', stop + 1)
  if not last then
    return item
  end
  local rest = stop + 4 + #last + #at + #how + #before
  local told = table.concat({ change(last, at, how, before) }, '.')
  return string.sub(item, 1, stop) .. told .. string.sub(item, rest)
end

local function had_by(lease)
  return function(last)
    return string.sub(redis.sha1hex(lease), 1, 16), string.format('%013.0f', now), '+', last
  end
end

local function was_lost(last, at, _, before)
  return last, at, 'x', before
end

-- As it was before a take that nobody heard of.
local function was_not_had(_, _, _, before)
  return before, string.rep('0', 13), '+', string.rep('0', 16)
end

-- Two deaths in company may be a neighbour's fault, two deaths alone are a proof.
local function must_run_alone(item)
  local history = history_of(item)
  return history.deaths >= 2 and history.deaths_alone < 2
end

local function wake(queue)
  local key = prefix .. queue .. ':wake'
  if redis.call('LLEN', key) == 0 then
    redis.call('LPUSH', key, '1')
  end
end

-- Whose messages have no list of their own.
local OTHER = 'other'
local BULK = '.bulk'

local function list_of(queue, tenant)
  return prefix .. queue .. (tenant == OTHER and '' or '@' .. tenant)
end

-- A queue and its bulk twin are shared as one: the tenants of a class take turns, each by its weight.
local function shares_of(queue)
  return prefix .. string.gsub(queue, '%.bulk$', '') .. ':shares'
end

local function weight_of(tenant)
  return tonumber(redis.call('ZSCORE', prefix .. 'tenants', tenant)) or 1
end

-- Something of a tenant waits. If nothing did, it comes next: what it has not used before is gone.
-- What it took lately still counts, for its place is kept until its turn comes.
local function line_up(queue, tenant)
  local shares = shares_of(queue)
  local first = redis.call('ZRANGE', shares, 0, 0, 'WITHSCORES')
  redis.call('ZADD', shares, 'NX', first[2] or 0, tenant)
end

-- Whose turn it was, as a lease says it; or nil.
local function tenant_in(where)
  return string.match(where, '@([^@]*)$')
end

local function put_back(push, queue, item, tenant)
  if must_run_alone(item) then
    redis.call(push, prefix .. queue .. ':alone', item) -- and from then on it is nobody's
  else
    redis.call(push, list_of(queue, tenant or OTHER), item)
    if tenant then
      line_up(queue, tenant)
    end
  end
  wake(queue)
end

local function put_first(queue, item, tenant)
  put_back('RPUSH', queue, item, tenant)
end

-- Behind all of its tenant that waits.
local function put_last(queue, item, tenant)
  put_back('LPUSH', queue, item, tenant)
end

-- New messages at the end. ARGV from `at` on, for each tenant: its name, its weight or nothing, how
-- many messages, message... Returns how many there were.
local function put_new(queue, at)
  local put = 0
  while ARGV[at] do
    local tenant, weight, last = ARGV[at], ARGV[at + 1], at + 2 + tonumber(ARGV[at + 2])
    local list = list_of(queue, tenant)
    for i = at + 3, last do
      redis.call('LPUSH', list, now .. '\n\n' .. ARGV[i])
    end
    if weight ~= '' then
      redis.call('ZADD', prefix .. 'tenants', weight, tenant)
    end
    -- What has no list of its own lines up when others do: see take.lua.
    if tenant ~= OTHER and last > at + 2 then
      line_up(queue, tenant)
    end
    put, at = put + last - at - 2, last + 1
  end
  wake(queue)
  return put
end

-- For whoever scales.
local MINUTES = 16

local function count_put(queue, messages)
  local minute = math.floor(now / 60000)
  local key = prefix .. 'put:' .. queue .. ':' .. minute % MINUTES
  local last, count = string.match(redis.call('GET', key) or '', '^(%d+) (%d+)$')
  local before = tonumber(last) == minute and tonumber(count) or 0
  redis.call('SET', key, string.format('%d %d', minute, before + messages), 'EX', 3600)
end

-- See note.lua.
local function note(backlog, line, outcome, remembered_s)
  local base = prefix .. 'backlog:' .. backlog .. ':'
  if redis.call('GETBIT', base .. 'done', line) == 1 then
    return 0
  end
  if redis.call('GETBIT', base .. outcome, line) == 1 then
    return 0
  end
  for _, other in ipairs(redis.call('SMEMBERS', base .. 'outcomes')) do
    if redis.call('GETBIT', base .. other, line) == 1 then
      redis.call('SETBIT', base .. other, line, 0)
    end
  end
  redis.call('SETBIT', base .. outcome, line, 1)
  redis.call('SADD', base .. 'outcomes', outcome)
  local minute = math.floor(now / 60000)
  redis.call('HINCRBY', base .. 'minutes', minute, 1)
  redis.call('HDEL', base .. 'minutes', minute - 15, minute - 16, minute - 17)
  for _, key in ipairs({ outcome, 'outcomes', 'minutes' }) do
    redis.call('EXPIRE', base .. key, remembered_s)
  end
  return 1
end

-- Whatever is lost here of a job is found in the bucket: it has neither record nor failure.
local MOST_SET_ASIDE, LONGEST_SET_ASIDE = 10000, 65536
local REMEMBERED_S = 30 * 24 * 3600

-- Nobody else says how its line ended, if it has one. What it claims may be anything; only a line
-- that was fed is marked.
local function note_set_aside(item)
  local _, _, message = parse(item)
  local job = cjson.decode(cjson.decode(message).body)[1][1]
  local backlog, line = job.backlog.name, job.backlog.line
  local fed = tonumber(redis.call('GET', prefix .. 'backlog:' .. backlog .. ':fed'))
  if line == math.floor(line) and 0 <= line and line < math.min(fed, 2 ^ 32) then
    note(backlog, string.format('%.0f', line), 'failed:set_aside', REMEMBERED_S)
  end
end

-- With the evidence: when, where, why, what.
local function set_aside(queue, reason, item)
  if #item <= LONGEST_SET_ASIDE then
    pcall(note_set_aside, item) -- it fails where there is no line, and that stops nobody
  else
    item = string.sub(item, 1, LONGEST_SET_ASIDE)
    reason = 'the first ' .. LONGEST_SET_ASIDE .. ' bytes of it: ' .. reason
  end
  redis.call('LPUSH', prefix .. 'poison', now .. '\n' .. queue .. '\n' .. reason .. '\n' .. item)
  while redis.call('LLEN', prefix .. 'poison') > MOST_SET_ASIDE do
    redis.call('RPOP', prefix .. 'poison')
  end
end

-- A server that is full refuses a script's first write if it needs memory, and none that follows a
-- write (measured with Redis 6.2 to 8.2 and Valkey 8.1 to 9.1). So write what needs none: no lease has an
-- empty name.
local function also_when_full()
  redis.call('HDEL', prefix .. 'unacked', '')
end

-- Nobody could renew a lease, so nobody lost one.
local function renew_all(timeout_ms)
  for _, id in ipairs(redis.call('ZRANGE', prefix .. 'leases', 0, -1)) do
    redis.call('ZADD', prefix .. 'leases', now + timeout_ms, id)
  end
  for _, id in ipairs(redis.call('ZRANGE', prefix .. 'workers', 0, -1)) do
    redis.call('ZADD', prefix .. 'workers', now, id)
  end
end

-- Sweeps come once a second.
local SHORTEST_GAP_MS = 3000

-- A clock that was set back, or one that went on by half a timeout since any worker was last here. They
-- beat four times in one: so the clock was set, or nobody could reach this server. What counts in it
-- starts anew, as if no time had passed.
local function clock_jumped(timeout_ms)
  local seen = tonumber(redis.call('HGET', prefix .. 'clock', 'seen')) or now
  redis.call('HSET', prefix .. 'clock', 'seen', now)
  if seen - 1000 <= now and now <= seen + math.max(timeout_ms / 2, SHORTEST_GAP_MS) then
    return false
  end
  renew_all(timeout_ms)
  local delayed = redis.call('ZRANGE', prefix .. 'delayed', 0, -1, 'WITHSCORES')
  for i = 1, #delayed, 2 do
    redis.call('ZADD', prefix .. 'delayed', tonumber(delayed[i + 1]) + now - seen, delayed[i])
  end
  return true
end

-- queue, worker, "alone", "begun", "@<tenant>" or "", item; or nil if the lease is not there any more.
local function end_lease(lease)
  local held = redis.call('HGET', prefix .. 'unacked', lease)
  redis.call('HDEL', prefix .. 'unacked', lease)
  redis.call('ZREM', prefix .. 'leases', lease)
  return held and split(held, 4)
end
