-- Called by: prune, by any worker at any time. ARGV after the time: limit. Rides ended, which
-- holds the jobs that have ended by the time until which they are kept, and a page of the names
-- of keys from ARGV[3] on: those whose time is over go, and those that their job does not hold,
-- as after somebody has deleted it by hand. Answers how many entries of ended it took, and the
-- last name of the page, or nothing at the end of the names. Gates are counted anew, by taken,
-- and those that nobody has touched for hours go, by touched.

local over = call('ZRANGEBYSCORE', ENDED, '-inf', NOW, 'LIMIT', 0, tonumber(ARGV[2]))
for _, id in ipairs(over) do
  local found = redis.pcall('HMGET', job_key(id), 'state', 'queue', 'key')
  call('ZREM', ENDED, id)
  if found.err or ENDS[found[1]] or not found[1] then
    call('UNLINK', job_key(id), attempts_key(id), logs_key(id))
    call('ZREM', JOBS, id)
    call('ZREM', DEAD, id)
    if found[1] then
      count(found[2] or '', found[1], nil)
      free_key(id, found[3], FREED_BY_END)
    end
  elseif not (WAITS[found[1]] or found[1] == 'running') then
    set_aside(id, found[2] or '', nil, 'its state is none')
  end
end

-- Count the places that running jobs and holds have, and write those of gates that say otherwise:
-- what a hand deletes lets go of nothing, nor does a holder that has died. So it is with a probe.
local function mend()
  local taken = redis.pcall('ZRANGE', TAKEN, 0, -1, 'WITHSCORES')
  if taken.err or not taken[1] then
    return
  end
  local running = book().running()
  for i = 1, #taken, 2 do
    local gate, used = book().find(taken[i]), running[taken[i]] or 0
    if not gate then
      call('ZREM', TAKEN, taken[i])
    else
      book().lapse(gate)
      used = used + call('ZCARD', holds_key(taken[i]))
      if gate.kind == 'places' and gate.used ~= used then
        gate.used, gate.wake_at, gate.changed = used, now, true
      elseif gate.probe and redis.pcall('HGET', job_key(gate.probe), 'state') ~= 'running' then
        gate.probe, gate.wake_at, gate.changed = nil, now, true
      end
    end
  end
end

-- Delete gates that hold nothing and that no job has touched for hours.
local function forget(limit)
  local old = redis.pcall('ZRANGEBYSCORE', TOUCHED, '-inf', text(now - 2 * HOUR), 'LIMIT', 0, limit)
  local gone = 0
  for _, name in ipairs(old.err and {} or old) do
    local gate = book().find(name)
    if gate and (gate.used > 0 or gate.probe or gate.full_at > now or gate.is_set
        or book().is_shut(gate) or call('EXISTS', waiting_key(name)) == 1) then
      gate.changed = true
    else
      call('DEL', gate_key(name), newest_key(name))
      call('ZREM', GATES, name)
      call('ZREM', TOUCHED, name)
      call('ZREM', WAKES, name)
      if gate then
        book().drop(name)
      end
      gone = gone + 1
    end
  end
  return gone
end

mend()
local gone = forget(tonumber(ARGV[2]))
close_book()

-- Tell whether a key is held no more.
local function is_loose(row)
  if row[2] == 'time' then
    return (tonumber(row[3]) or 0) <= now
  end
  local state = redis.pcall('HGET', job_key(row[1]), 'state')
  if type(state) ~= 'string' then
    return true
  end
  if ENDS[state] then
    return key_book().frees(state == 'succeeded' and FREED_BY_SUCCESS or FREED_BY_END, row[2])
  end
  return state == 'running' and row[2] == 'claim'
end

local page = call('ZRANGEBYLEX', NAMES, ARGV[3] == '' and '-' or '(' .. ARGV[3], '+', 'LIMIT', 0,
  tonumber(ARGV[2]))
for _, name in ipairs(page) do
  local row = redis.pcall('HMGET', key_key(name), 'job', 'until', 'until_at', 'next')
  if row.err or not row[1] then
    call('ZREM', NAMES, name)
  elseif is_loose(row) then
    key_book().let_go(name, row[4])
  end
end
write_counts()
return {#over + gone, #page == tonumber(ARGV[2]) and page[#page] or ''}
