-- Called by: discard; conditional on the state it finds. ARGV after the time: ids. Answers 1 for
-- each job that this call has deleted, else 0.

local answer = {}
for at = 2, #ARGV do
  local id = ARGV[at]
  local found = redis.pcall('HMGET', job_key(id), 'state', 'queue', 'key')
  local over = ENDS[found[1]]
  answer[at - 1] = over and '1' or '0'
  if over then
    call('UNLINK', job_key(id), attempts_key(id), logs_key(id))
    call('ZREM', JOBS, id)
    call('ZREM', ENDED, id)
    call('ZREM', DEAD, id)
    count(found[2] or '', found[1], nil)
    free_key(id, found[3], FREED_BY_END)
  end
end
write_counts()
return table.concat(answer)
