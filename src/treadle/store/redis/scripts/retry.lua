-- Called by: retry; conditional on the state it finds. ARGV after the time: ids. A job that had
-- ended keeps its last attempt in the list of those before, and takes its key again; one whose key
-- another job holds stays as it is. Answers 1 for each job made ready, else 0.

local MAY = {failed = true, cancelled = true, expired = true, scheduled = true, retrying = true,
  ready = true}
local answer = {}

-- Let an ended job take its key again; false when another one holds it.
local function take_again(id)
  local row = call('HMGET', job_key(id), 'key', 'key_until', 'key_hash')
  if not row[1] or row[2] == 'time' then
    return true
  end
  local held = key_book().ask(row[1])
  if not held then
    key_book().hold(row[1], id, row[2] or 'end', row[3] or '')
  end
  return not held or held.job == id
end

relieve()
for at = 2, #ARGV do
  local id = ARGV[at]
  local key = job_key(id)
  local row = redis.pcall('HMGET', key, 'state', 'queue', 'task', 'number', 'attempt', 'worker',
    'started_at', 'finished_at', 'outcome', 'error', 'ran', 'priority', 'expires_at')
  local state, queue = row[1], row[2] or ''
  local may = MAY[state] and (not ENDS[state] or take_again(id))
  answer[at - 1] = may and '1' or '0'
  if may then
    if (state == 'failed' or state == 'cancelled') and row[11] and row[7] then
      record(id, row[4] or '0', row[5] or '0', row[6] or '', row[7], row[8] or '',
        row[9] or state, row[10] or '', row[11])
    end
    unlist(id, queue, row[3])
    call('ZREM', ENDED, id)
    call('ZREM', DEAD, id)
    local expires_at = row[13]
    if expires_at and tonumber(expires_at) and tonumber(expires_at) <= now then
      call('HDEL', key, 'expires_at')
      expires_at = false
    end
    call('HDEL', key, 'reason', 'parked_at', 'worker', 'started_at', 'finished_at', 'keep_until',
      'outcome', 'ran', 'waits_at')
    call('HSET', key, 'state', 'ready', 'run_at', NOW, 'forgiven', row[5] or '0', 'crashes', '0')
    list_ready(id, queue, row[12], expires_at)
    count(queue, state, 'ready')
    if call('HEXISTS', key, 'gates') == 1 then
      book().park_ready(id)
    end
  end
end
close_book()
write_counts()
ring(EARS_WORK)
return table.concat(answer)
