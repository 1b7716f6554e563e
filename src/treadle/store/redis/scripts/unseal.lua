-- Called by: unseal and drop, at the end of a move; conditional on the seal it finds. ARGV after
-- the time: the seal, 1 to open or 0 to delete, then ids. An opened job has the state and reason
-- that stand behind its seal, and is listed where that state is. Answers 1 for each job that this
-- call has opened or deleted, else 0. A deleted one frees its key for who waits behind.

local seal, opens, answer = ARGV[2], ARGV[3] == '1', {}
local wrong = misused({[JOBS] = 'zset', [DUE] = 'zset', [EXPIRING] = 'zset', [PARKED] = 'zset',
  [COUNTS] = 'hash'})
if wrong then
  return wrong
end

local function open(id, row, state, reason)
  if state == 'ready' then
    list_ready(id, row[2] or '', row[4], row[5])
  else
    call('ZADD', DUE, row[6] or row[7] or NOW, id)
    if reason == 'unknown_task' then
      call('ZADD', PARKED, 0, (row[8] or '') .. '\0' .. id)
    end
  end
  call('HSET', job_key(id), 'state', state, 'reason', reason)
  count(row[2] or '', 'blocked', state)
end

relieve()
for at = 4, #ARGV do
  local id = ARGV[at]
  local row = redis.pcall('HMGET', job_key(id), 'state', 'queue', 'reason', 'priority',
    'expires_at', 'run_at', 'created_at', 'task', 'key')
  local held = not row.err and row[1] == 'blocked' and string.sub(row[3] or '', 1, #seal) == seal
  answer[at - 3] = held and '1' or '0'
  if held and opens then
    local state, reason = string.match(string.sub(row[3], #seal + 1), '^(%a+)|(.*)$')
    open(id, row, state, reason)
  elseif held then
    call('UNLINK', job_key(id), attempts_key(id), logs_key(id))
    call('ZREM', JOBS, id)
    call('ZREM', EXPIRING, id)
    count(row[2] or '', 'blocked', nil)
    free_key(id, row[9], FREED_BY_END)
  end
end
write_counts()
if opens then
  ring(EARS_WORK)
end
return table.concat(answer)
