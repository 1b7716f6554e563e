-- Called by: mark, where it must be sure; any number at once. ARGV after the time: id and number of
-- each claim that is about to begin. A mark is good for this very claim alone. Fenced like a
-- settlement: a claim that is over has none.

for at = 2, #ARGV, 2 do
  local found = redis.pcall('HMGET', job_key(ARGV[at]), 'state', 'number')
  if found[1] == 'running' and found[2] == ARGV[at + 1] then
    relieve()
    call('HSET', job_key(ARGV[at]), 'begun', ARGV[at + 1])
  end
end
return 1
