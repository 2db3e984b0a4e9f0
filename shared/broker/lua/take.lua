-- Take the next message, under a lease. ARGV: lease, worker, timeout in ms, how many this worker
-- has in flight, how many of the queues may be passed over once for the oldest of the others
-- (0: none), queue... in the order in which they are wanted.
-- Returns queue, "alone", "@<tenant>" or "", item; or {"busy"}: something must run alone here, take
-- nothing until you have nothing in flight; {"held"}: this worker is to go; or nil.
local lease, worker, timeout_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local in_flight, passed_over = tonumber(ARGV[4]), tonumber(ARGV[5])
local queues, wanted = {}, {}
for i = 6, #ARGV do
  queues[#queues + 1] = ARGV[i]
  wanted[ARGV[i]] = true
end

-- Since the last sweep.
local function server_was_down()
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
  if redis.call('GET', prefix .. 'run') == run then
    return false
  end
  redis.call('SET', prefix .. 'run', run)
  return true
end

-- Of workers whose job had not begun, or that had others too. Whatever does that will not stop.
local MOST_DEATHS = 10

-- A worker that beat lately and let this lease go hangs; any other one has died.
local function has_died(id)
  local beat = redis.call('ZSCORE', prefix .. 'workers', id)
  return not beat or tonumber(beat) < now - timeout_ms / 2
end

local function return_lost_leases()
  local lost = redis.call('ZRANGEBYSCORE', prefix .. 'leases', '-inf', now, 'LIMIT', 0, 100)
  for _, id in ipairs(lost) do
    local held = end_lease(id)
    if held then
      local queue, holder, where, item = unpack(held)
      local kind = 'hangs'
      if has_died(holder) then
        -- Who was alone with a job that had not begun probably died of something else.
        kind = where == 'begun' and 'deaths_alone' or 'deaths'
      end
      local history = history_of(item)
      history[kind] = history[kind] + 1
      table.insert(history.workers, holder)
      item = traced(with_history(item, cjson.encode(history)), was_lost)
      if history.deaths < MOST_DEATHS then
        put_first(queue, item, tenant_in(where))
      else
        set_aside(queue, 'its workers die before it begins', item)
      end
    end
  end
end

local function return_delayed()
  local due = redis.call('ZRANGEBYSCORE', prefix .. 'delayed', '-inf', now, 'LIMIT', 0, 100)
  for _, member in ipairs(due) do
    redis.call('ZREM', prefix .. 'delayed', member)
    local name, queue, where, item = unpack(split(member, 4))
    local put = where == 'last' and put_last or put_first
    put(queue, item, tenant_in(name))
  end
end

-- As many fresh messages of a tenant for one of bulk, as `queue_order.py` has them of all together.
local FRESH_PER_BULK = 3

local function taken_of(queue, tenant)
  return tonumber(redis.call('HGET', prefix .. 'taken', queue .. '@' .. tenant)) or 0
end

-- Where the next message of a tenant is, of those that this worker takes; or nil.
local function queue_of(class, tenant, fresh, bulk)
  local twin = class .. BULK
  fresh, bulk = fresh > 0 and wanted[class], bulk > 0 and wanted[twin]
  if fresh and bulk then
    local before = taken_of(class, tenant) + taken_of(twin, tenant)
    return before % (FRESH_PER_BULK + 1) == FRESH_PER_BULK and twin or class
  end
  return fresh and class or bulk and twin or nil
end

-- Whose turn it is in a class that tenants share, where its message is, and its place in line; or
-- nil. Each unit of work moves a tenant back by 1 / weight, and the first one is next (start-time fair
-- queueing).
local function turn_in(class)
  local shares, at = shares_of(class), 0
  if redis.call('LLEN', prefix .. class) + redis.call('LLEN', prefix .. class .. BULK) > 0 then
    line_up(class, OTHER)
  end
  while true do
    local tenant, place = unpack(redis.call('ZRANGE', shares, at, at, 'WITHSCORES'))
    if not tenant then
      return nil
    end
    local fresh = redis.call('LLEN', list_of(class, tenant))
    local bulk = redis.call('LLEN', list_of(class .. BULK, tenant))
    if fresh + bulk == 0 and at == 0 then
      redis.call('ZREM', shares, tenant) -- its turn has come, and it wants none
    else
      local queue = queue_of(class, tenant, fresh, bulk)
      if queue then
        return queue, tenant, place
      end
      at = at + 1
    end
  end
end

-- Where the next message is that this queue would give, whose turn that is, and its place; nobody's,
-- where tenants share nothing.
local function next_in(queue)
  if redis.call('ZCARD', shares_of(queue)) == 0 then
    return queue, nil
  end
  return turn_in((string.gsub(queue, '%.bulk$', '')))
end

local function take(queue, alone, tenant, place)
  local list = list_of(queue, tenant or OTHER)
  local item = redis.call('RPOP', alone and prefix .. queue .. ':alone' or list)
  if not item then
    return nil
  end
  local where = alone and 'alone' or tenant and '@' .. tenant or ''
  local held = queue .. '\n' .. worker .. '\n' .. where .. '\n' .. traced(item, had_by(lease))
  redis.call('HSET', prefix .. 'unacked', lease, held)
  redis.call('ZADD', prefix .. 'leases', now + timeout_ms, lease)
  redis.call('HINCRBY', prefix .. 'taken', queue, 1)
  local others = false
  if tenant then
    local shares = shares_of(queue)
    redis.call('ZADD', shares, tonumber(place) + 1 / weight_of(tenant), tenant)
    redis.call('HINCRBY', prefix .. 'taken', queue .. '@' .. tenant, 1)
    others = redis.call('ZCARD', shares) > 1
  end
  if others or redis.call('LLEN', list) > 0 then
    wake(queue)
  end
  return { queue, where, item }
end

also_when_full()

if redis.call('DEL', prefix .. 'void:' .. lease) == 1 then
  return nil
end

-- Once a second for all workers together; not by a key that expires, which a clock that is set back
-- would keep.
local swept = tonumber(redis.call('HGET', prefix .. 'clock', 'swept'))
if not swept or now < swept or now >= swept + 1000 then
  redis.call('HSET', prefix .. 'clock', 'swept', now)
  local jumped = clock_jumped(timeout_ms)
  if server_was_down() then
    renew_all(timeout_ms)
  elseif not jumped then
    return_lost_leases()
  end
end
return_delayed()

-- No longer than that, also where a clock was set back since. (HOLD_S in held.py.)
local LONGEST_HOLD_MS = 180 * 1000

local held_ms = (tonumber(redis.call('ZSCORE', prefix .. 'held', worker)) or 0) - now
if held_ms > 0 and held_ms <= LONGEST_HOLD_MS then
  -- It may have been woken before it knew: then somebody else has to be.
  for _, queue in ipairs(queues) do
    if redis.call('LLEN', prefix .. queue) > 0 or redis.call('ZCARD', shares_of(queue)) > 0 then
      wake(queue)
    end
  end
  return { 'held' }
end

for _, queue in ipairs(queues) do
  if redis.call('LLEN', prefix .. queue .. ':alone') > 0 then
    local claim = prefix .. queue .. ':alone:claim'
    if in_flight == 0 then
      redis.call('DEL', claim)
      return take(queue, true)
    end
    local by, since = string.match(redis.call('GET', claim) or '', '^(.*)\n(%d+)$')
    since = tonumber(since)
    -- Its time is in it: a clock that is set back would keep the key of one that has died.
    if by == worker or not since or since > now or since < now - timeout_ms then
      redis.call('SET', claim, worker .. '\n' .. now, 'PX', timeout_ms)
      return { 'busy' }
    end
  end
end

if passed_over > 0 then
  local oldest, whose, its_place, since
  for i = passed_over + 1, #queues do
    local queue, tenant, place = next_in(queues[i])
    local head = queue and redis.call('LINDEX', list_of(queue, tenant or OTHER), -1)
    if head then
      local enqueued = tonumber((parse(head)))
      if enqueued > now then
        enqueued = 0 -- by a clock that was set back since
      end
      if not since or enqueued < since then
        oldest, whose, its_place, since = queue, tenant, place, enqueued
      end
    end
  end
  if oldest then
    return take(oldest, false, whose, its_place)
  end
end

for _, one in ipairs(queues) do
  local queue, tenant, place = next_in(one)
  local found = queue and take(queue, false, tenant, place)
  if found then
    return found
  end
end
-- All of them are empty: a token left there would wake somebody for nothing.
for _, queue in ipairs(queues) do
  redis.call('DEL', prefix .. queue .. ':wake')
end
return nil
