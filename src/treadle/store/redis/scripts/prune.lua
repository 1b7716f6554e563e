-- Called by: prune, by any worker at any time. ARGV after the time: limit. Rides ended, which
-- holds the jobs that have ended by the time until which they are kept, and a page of the names of
-- keys from ARGV[3] on: those whose time is over go, and those that their job does not hold, as
-- after somebody has deleted it by hand. Answers how many entries of ended it took, and the last
-- name of the page, or nothing at the end of the names.

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
    return (state == 'succeeded' and FREED_BY_SUCCESS or FREED_BY_END)[row[2]]
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
    let_go(name, row[4])
  end
end
write_counts()
return {#over, #page == tonumber(ARGV[2]) and page[#page] or ''}
