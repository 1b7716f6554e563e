-- Called by: exchange and rescue, for claims whose stored values this library cannot read. ARGV
-- after the time: worker, then id and number of each. Fenced like a settlement. Answers how many.

local done = 0
relieve()
for at = 3, #ARGV, 2 do
  local id, number = ARGV[at], ARGV[at + 1]
  local found = redis.pcall('HMGET', job_key(id), 'state', 'number', 'queue')
  call('SREM', held_key(ARGV[2]), id .. number)
  if found[1] == 'running' and found[2] == number then
    set_aside(id, found[3] or '', 'running', 'its text or its call cannot be read')
    done = done + 1
  end
end
write_counts()
return done
