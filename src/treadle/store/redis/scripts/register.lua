-- Called by: register; any number at once, said twice it is said once. ARGV after the time:
-- worker, its record, its lease. Answers the time.

local wrong = misused({[WORKERS] = 'zset'})
if wrong then
  return wrong
end
local me = worker_key(ARGV[2])
relieve()
call('HSETNX', me, 'started_at', NOW)
call('HSET', me, 'info', ARGV[3], 'lease', ARGV[4], 'beat_at', NOW)
call('ZADD', WORKERS, 'NX', NOW, ARGV[2])
return NOW
