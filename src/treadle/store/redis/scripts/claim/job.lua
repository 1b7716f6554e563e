-- What becomes of a job that stands first: it is claimed, parked, expired or set aside.

local function expire(id, row, queue)
  local found = {created_at = row[7], queue = queue, task = row[4], state = 'ready',
    key = row[14]}
  end_waiting(id, found, 'expired', 'expired')
end

-- Park a job whose task is paused at the gate of the task, which it does not carry; tell whether.
local function is_held(id, queue)
  local row = ask('HMGET', JOB_ .. id, 'task', 'state', 'priority', 'expires_at', 'gates')
  local gate = not row.err and row[1] and paused[row[1]]
  if not gate or row[2] ~= 'ready' or (row[4] and (tonumber(row[4]) or 0) <= now) then
    return false
  end
  local uses = {gate}
  for _, use in ipairs(book().uses(row[5])) do
    uses[#uses + 1] = use
  end
  book().park(id, gate.name, uses, queue, row[3])
  fell_away, parked = true, parked + 1
  return true
end

-- Let a job pass its gates, or park it at the first that is shut.
local function passes(id, gates, created_at, queue, priority)
  local uses = book().uses(gates)
  local at = book().pass(uses, id, whole(created_at))
  if at then
    book().park(id, at, uses, queue, priority)
    fell_away, parked = true, parked + 1
    return false
  end
  return true
end

-- Write a claim, and note it for the answer as `row`.
local function hold(id, queue, n, tried, row)
  call('HSET', JOB_ .. id, 'state', 'running', 'number', n, 'attempt', tried,
    'worker', worker, 'started_at', NOW)
  claims[#claims + 1] = row
  holds[#holds + 1] = id .. n
  packed[#packed + 1], packed[#packed + 2] = id, n
  count(queue, 'ready', 'running')
end

-- Say which of the gates in the answer these are.
local function place_of(gates)
  local place = places_of[gates]
  if not place then
    carried[#carried + 1] = gates
    place = text(#carried)
    places_of[gates] = place
  end
  return place
end

-- `times` is when it was made, and behind a colon when it was due, if that is another time.
local function plain(id, n, tried, task, of, words, times, gates)
  return id .. ' ' .. n .. ' ' .. tried .. ' ' .. times .. ' ' .. text(#task) .. ' '
    .. text(#of) .. ' ' .. (gates and place_of(gates) or '0') .. ' ' .. task .. of .. words
end

-- Claim a job that has never run and has nothing out of the ordinary but gates or a time at which
-- it was due, as most: that it has five fields, or six, and these five, and one of the two, says
-- that it has no other, each of which would be looked for.
local function claim_new(id, queue)
  local key, row = JOB_ .. id, nil
  local fields = ask('HLEN', key)
  if fields == 5 then
    row = ask('HMGET', key, 'state', 'task', 'queue', 'call', 'created_at')
  elseif fields == 6 then
    row = ask('HMGET', key, 'state', 'task', 'queue', 'call', 'created_at', 'gates', 'run_at')
  end
  if not row or row[1] ~= 'ready' or not (row[2] and row[3] and row[4] and whole(row[5])) then
    return false
  end
  local gates, due, times = row[6], row[7], row[5]
  if fields == 6 and not gates and not (due and whole(due)) then
    return false
  elseif gates and not passes(id, gates, row[5], queue) then
    return true
  end
  if due then
    times = times .. ':' .. due
  end
  hold(id, queue, '1', '1', plain(id, '1', '1', row[2], row[3], row[4], times, gates))
  return true
end

local function claim(id, queue, score)
  if score % TURN ~= 0 then
    leave_turn('r' .. queue, id, tenant_of(id))
  end
  if (paused and is_held(id, queue)) or claim_new(id, queue) then
    return
  end
  local key = JOB_ .. id
  local row = ask('HMGET', key, 'state', 'number', 'attempt', 'task', 'queue', 'call',
    'created_at', 'priority', 'forgiven', 'crashes', 'run_at', 'expires_at', 'parked_at', 'key',
    'gates')
  local number, attempt = whole(row[2] or 0), whole(row[3] or 0)
  if row.err or row[1] ~= 'ready' then
    fell_away = true
    if row.err or (row[1] and not (WAITS[row[1]] or ENDS[row[1]] or row[1] == 'running')) then
      set_aside(id, queue, 'ready', 'its state is none')
    end
    return
  end
  if not (number and attempt and number < EXACT and attempt < EXACT and row[4] and row[5]
      and row[6] and whole(row[7]) and tonumber(row[12] or 0)) then
    fell_away = true
    return set_aside(id, queue, 'ready', 'a number, its task, queue or call cannot be read')
  end
  if row[12] then
    if tonumber(row[12]) <= now then
      fell_away = true
      return expire(id, row, queue)
    end
  end
  if row[15] and not passes(id, row[15], row[7], queue, row[8]) then
    return
  end
  if row[12] then
    call('ZREM', EXPIRING, id)
  end
  number, attempt = number + 1, attempt + 1
  local n, tried = text(number), text(attempt)
  if number > 1 then
    call('HDEL', key, 'reason', 'outcome')
  end
  local name, gates = row[14], row[15]
  if name then
    free_key(id, name, FREED_BY_CLAIM)
  end
  if row[8] or row[9] or row[10] or row[11] or row[12] or row[13] or name then
    row[1], row[2], row[3], row[14], row[15], row[16] = id, n, attempt, NOW, name, gates
  else
    row = plain(id, n, tried, row[4], row[5], row[6], row[7], gates)
  end
  hold(id, queue, n, tried, row)
end
