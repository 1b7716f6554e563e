-- Called by: cancel; it may race with the line and with itself: conditional on the state it finds.
-- ARGV after the time: ids. A running job's number rises, so that what its worker settles is LOST.
-- Answers 1 for each job that this call has cancelled, else 0.

local answer = {}
relieve()
for at = 2, #ARGV do
  local id = ARGV[at]
  local row = redis.pcall('HMGET', job_key(id), 'state', 'queue', 'task', 'created_at', 'number',
    'attempt', 'worker', 'started_at', 'key', 'gates')
  local found = {state = row[1], queue = row[2] or '', task = row[3], created_at = row[4],
    key = row[9]}
  local done = true
  if WAITS[row[1]] then
    end_waiting(id, found, 'cancelled', 'cancelled')
    call('HDEL', job_key(id), 'ran')
  elseif row[1] == 'running' then
    call('SREM', held_key(row[7] or ''), id .. (row[5] or ''))
    record(id, row[5], row[6] or '0', row[7] or '', row[8] or '', NOW, 'cancelled', '', '')
    end_waiting(id, found, 'cancelled', 'cancelled')
    call('HSET', job_key(id), 'number', text(math.min((whole(row[5]) or EXACT) + 1, EXACT)))
    if row[10] then
      book().free(book().uses(row[10]), {id})
    end
    call('HDEL', job_key(id), 'ran')
  else
    done = false
  end
  answer[at - 1] = done and '1' or '0'
end
close_book()
write_counts()
ring(EARS_ENDS)
if opened then
  ring(EARS_WORK)
end
return table.concat(answer)
