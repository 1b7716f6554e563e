-- Called by: seal, while jobs are moved to another store; conditional on the state it finds. ARGV
-- after the time: the seal, then ids. A sealed job is blocked, out of the lists that it is taken
-- from, and its state and reason stand behind the seal. Answers the time, then for each job that
-- is sealed so, or a dead letter: its fields, its attempts before the last and its log lines.

local seal, found = ARGV[2], {}
local wrong = misused({[DUE] = 'zset', [EXPIRING] = 'zset', [PARKED] = 'zset', [COUNTS] = 'hash'})
if wrong then
  return wrong
end
relieve()
for at = 3, #ARGV do
  local id = ARGV[at]
  local key = job_key(id)
  local row = redis.pcall('HMGET', key, 'state', 'queue', 'task', 'reason', 'expires_at',
    'waits_at')
  local state, reason = row[1], row[4] or ''
  if state == 'blocked' and reason == 'gate' and row[6] then
    -- One that was parked at a gate is ready over there, where it meets its gates anew.
    unpark(id, row[2] or '')
    reason = seal .. 'ready|'
    call('HSET', key, 'reason', reason)
    call('HDEL', key, 'waits_at')
  elseif not row.err and (state == 'ready' or state == 'scheduled' or state == 'retrying') then
    unlist(id, row[2] or '', row[3])
    if tonumber(row[5]) then
      call('ZADD', EXPIRING, row[5], id)
    end
    reason = seal .. state .. '|' .. reason
    call('HSET', key, 'state', 'blocked', 'reason', reason)
    count(row[2] or '', state, 'blocked')
    state = 'blocked'
  end
  found[at - 2] = false
  if state == 'failed' or (state == 'blocked' and string.sub(reason, 1, #seal) == seal) then
    found[at - 2] = {call('HGETALL', key), call('LRANGE', attempts_key(id), 0, -1),
      call('LRANGE', logs_key(id), 0, -1)}
  end
end
write_counts()
return {NOW, found}
