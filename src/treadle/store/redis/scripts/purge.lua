-- Called by: purge; conditional on the state it finds. ARGV after the time: queue, limit, how many
-- waiting jobs to pass over in due, how many to look at. Ready jobs go first, then those of the
-- queue among the page of due. Answers: how many were cancelled, how many entries of due were
-- passed over, and 1 when that was the end of it.

local queue, limit, from, looks = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local done, passed = 0, 0

local function purge(id)
  local row = redis.pcall('HMGET', job_key(id), 'state', 'queue', 'task', 'created_at', 'key')
  if row.err or row[2] ~= queue or not WAITS[row[1]] then
    return false
  end
  end_waiting(id, {state = row[1], queue = queue, task = row[3], created_at = row[4],
    key = row[5]}, 'cancelled', 'purged')
  done = done + 1
  return true
end

relieve()
for _, id in ipairs(call('ZRANGE', ready_key(queue), 0, limit - 1)) do
  if not purge(id) then
    call('ZREM', ready_key(queue), id)
  end
end
local behind = done < limit and redis.pcall('ZRANGE', behind_key(queue), 0, limit - done - 1) or {}
for _, id in ipairs(behind.err and {} or behind) do
  if not purge(id) then
    call('ZREM', behind_key(queue), id)
  end
end
local page = call('ZRANGE', DUE, from, from + looks - 1)
for _, id in ipairs(page) do
  if done == limit then
    break
  end
  if not purge(id) then
    passed = passed + 1
  end
end
write_counts()
ring(EARS_ENDS)
return {done, passed, #page < looks and 1 or 0}
