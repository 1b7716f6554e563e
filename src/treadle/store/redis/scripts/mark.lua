-- Called by: mark, where it must be sure; any number at once. ARGV after the time: id, number. The
-- mark is good for this very claim alone. Fenced like a settlement: a claim that is over has none.

local found = redis.pcall('HMGET', job_key(ARGV[2]), 'state', 'number')
if found[1] == 'running' and found[2] == ARGV[3] then
  relieve()
  call('HSET', job_key(ARGV[2]), 'begun', ARGV[3])
end
return 1
