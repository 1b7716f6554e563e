-- Called by: hold_take, hold_renew, hold_free; any number at once. ARGV after the time: what to do,
-- the gate, the token; to take: kind, quota, period, burst, cost, lease, for how long who asks
-- waits, how many may; to renew: the lease. A place is in `holds` for as long as it is counted, a
-- start of a rate in `passed` for the lease, who waits in `asks`. Answers whether it was done; for
-- take also how long until a clock may let it through, or -1, and how many stand before it.

local what, name, token = ARGV[2], ARGV[3], ARGV[4]
local B = book()

-- Let a line of holds stay for an hour beyond the longest of its leases: a short one beside a long
-- one must not take that along.
local function keep_line(line, lease)
  local most = math.ceil(lease / 1000) + HOUR / 1000
  if call('PTTL', line) < most then
    call('PEXPIRE', line, most)
  end
end

local function ask(gate, cost, lease, asks_for, asking_max)
  local held = B.clean(holds_key(name), 'zset')
  local passed = B.clean(passed_key(name), 'zset')
  local line = gate.kind == 'places' and held or passed
  call('ZREMRANGEBYSCORE', passed, '-inf', NOW)
  local was_held = call('ZSCORE', held, token) or call('ZSCORE', passed, token)
  local first, many = B.first_asking(name)
  local mine, passes = B.asks(name, token), was_held
  local is_next = mine and mine.is_next
  if not was_held and (not first or first.token == token) then
    -- Where no job waits it is the turn of who asks.
    is_next = is_next or call('EXISTS', waiting_key(name)) == 0
    passes = is_next and B.takes(gate, cost) <= B.room(gate) - B.pending(gate)
  end
  if passes then
    if not was_held then
      B.spend(gate, B.takes(gate, cost))
    end
    if call('ZSCORE', held, token) then
      line = held
    end
    B.leave(name, token)
    call('ZADD', line, text(now + lease), token)
    keep_line(line, lease)
    return 1, -1
  end
  if mine or many < asking_max then
    B.wait(name, token, mine and mine.since or now, now + asks_for, cost, is_next)
    expire(asks_key(name), asks_for)
  end
  if B.to_wake(gate) > 0 and B.reserved(gate) == 0 then
    -- It is the turn of a job that waits; after that it is that of who asked first.
    B.wake(gate)
  end
  local opens = B.opens_at(gate, cost)
  return 0, opens and opens > now and opens - now or -1, B.ahead(name, token)
end

local function take()
  local use = {name = name, kind = ARGV[5], quota = tonumber(ARGV[6]), period = tonumber(ARGV[7]),
    burst = tonumber(ARGV[8])}
  local gate = B.of(use, now)
  B.lapse(gate)
  gate.changed = true
  return ask(gate, tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12]))
end

local function renew()
  local held, lease = B.clean(holds_key(name), 'zset'), tonumber(ARGV[5])
  local line = call('ZSCORE', held, token) and held or B.clean(passed_key(name), 'zset')
  local till = tonumber(call('ZSCORE', line, token) or nil)
  if not till then
    return 0, -1
  end
  call('ZADD', line, text(math.max(till, now + lease)), token)
  keep_line(line, lease)
  return 1, -1
end

local function free()
  relieve()
  local gate = B.find(name)
  local held = call('ZREM', B.clean(holds_key(name), 'zset'), token)
  local done = held + call('ZREM', B.clean(passed_key(name), 'zset'), token) + B.leave(name, token)
  if gate and done > 0 then
    gate.used = math.max(0, gate.used - held)
    B.wake(gate)
  end
  return math.min(done, 1), -1
end

local VERBS = {take = take, renew = renew, free = free}
local done, wait, ahead = VERBS[what]()
close_book()
write_counts()
if what == 'free' then
  ring(EARS_WORK)
end
return {done, wait, ahead or 0}
