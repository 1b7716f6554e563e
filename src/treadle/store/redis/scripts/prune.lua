-- Called by: prune, by any worker at any time. ARGV after the time: limit. Rides ended, which
-- holds the jobs that have ended by the time until which they are kept. Answers how many entries
-- it took.

local over = call('ZRANGEBYSCORE', ENDED, '-inf', NOW, 'LIMIT', 0, tonumber(ARGV[2]))
for _, id in ipairs(over) do
  local found = redis.pcall('HMGET', job_key(id), 'state', 'queue')
  call('ZREM', ENDED, id)
  if found.err or ENDS[found[1]] or not found[1] then
    call('UNLINK', job_key(id), attempts_key(id), logs_key(id))
    call('ZREM', JOBS, id)
    call('ZREM', DEAD, id)
    if found[1] then
      count(found[2] or '', found[1], nil)
    end
  elseif not (WAITS[found[1]] or found[1] == 'running') then
    set_aside(id, found[2] or '', nil, 'its state is none')
  end
end
write_counts()
return #over
