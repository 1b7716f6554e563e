-- Called by: stage, by any worker at any time. ARGV after the time: limit, then the tasks that the
-- worker knows. Rides due, expiring, parked and wakes, which hold only what it looks for, and
-- reads nothing else when none of them has anything for it. Answers how many jobs were moved.

local limit, moved = tonumber(ARGV[2]), 0
local wrong = misused({[DUE] = 'zset', [EXPIRING] = 'zset', [PARKED] = 'zset', [ENDED] = 'zset',
  [COUNTS] = 'hash'})
if wrong then
  return wrong
end

local function read(id)
  local row = redis.pcall('HMGET', job_key(id), 'state', 'queue', 'task', 'created_at', 'priority',
    'expires_at', 'reason', 'run_at', 'key', 'gates', 'tag')
  if row.err then
    return {state = 'misused'}
  end
  return {state = row[1], queue = row[2] or '', task = row[3], created_at = row[4],
    priority = row[5], expires_at = row[6], reason = row[7], run_at = row[8],
    key = row[9], gates = row[10], tag = row[11]}
end

-- Take an entry out that its list should not have; a state that is none makes a dead letter.
local function drop(list, id, found)
  call('ZREM', list, id)
  if found.state and not (WAITS[found.state] or ENDS[found.state] or found.state == 'running') then
    set_aside(id, found.queue or '', nil, 'its state is none')
  end
end

local function ready(id, found)
  -- Listed first: should that fail, nothing has been written of it.
  local most = found.reason == 'unknown_task' and whole(found.tag) or nil
  call('ZADD', ready_key(found.queue), ready_score(id, found.queue, found.priority, most), id)
  call('ZREM', DUE, id)
  if found.reason == 'unknown_task' then
    call('ZREM', PARKED, (found.task or '') .. '\0' .. id)
  end
  call('HSET', job_key(id), 'state', 'ready', 'reason', '')
  count(found.queue, found.state, 'ready')
  if found.gates then
    book().park_ready(id)
  end
  moved = moved + 1
end

for _, id in ipairs(call('ZRANGEBYSCORE', EXPIRING, '-inf', NOW, 'LIMIT', 0, limit)) do
  local found = read(id)
  if WAITS[found.state] then
    end_waiting(id, found, 'expired', 'expired')
    moved = moved + 1
  else
    drop(EXPIRING, id, found)
  end
end
if moved > 0 then
  ring(EARS_ENDS)
end

local staged = moved
if moved < limit then
  for _, id in ipairs(call('ZRANGEBYSCORE', DUE, '-inf', NOW, 'LIMIT', 0, limit - moved)) do
    local found = read(id)
    if found.state == 'scheduled' or found.state == 'retrying' then
      ready(id, found)
    else
      drop(DUE, id, found)
    end
  end
end

if moved < limit and #ARGV > 2 and call('EXISTS', PARKED) == 1 then
  for task = 3, #ARGV do
    local room, name = limit - moved, ARGV[task]
    if room <= 0 then
      break
    end
    local from, to = '[' .. name .. '\0', '(' .. name .. '\1'
    for _, entry in ipairs(call('ZRANGEBYLEX', PARKED, from, to, 'LIMIT', 0, room)) do
      local id = string.sub(entry, -32)
      local found = read(id)
      if found.state == 'scheduled' and found.reason == 'unknown_task' and found.task == name then
        call('HSET', job_key(id), 'run_at', NOW)
        ready(id, found)
      elseif #entry == #name + 33 then
        call('ZREM', PARKED, entry)
      end
    end
  end
end
if moved < limit then
  local due = redis.pcall('ZRANGEBYSCORE', WAKES, '-inf', NOW, 'LIMIT', 0, limit - moved)
  for _, name in ipairs(due.err and {} or due) do
    local gate = book().find(name)
    if gate then
      moved = moved + book().wake(gate)
    else
      call('ZREM', WAKES, name)
    end
    if moved >= limit then
      break
    end
  end
end
close_book()
write_counts()
if moved > staged then
  ring(EARS_WORK)
end
return moved
