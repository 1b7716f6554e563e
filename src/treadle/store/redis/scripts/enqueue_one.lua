-- Called by: enqueue, enqueue_now, for one job that is ready at once and has nothing out of the
-- ordinary, as most; any number at once. ARGV after the time: queue, priority, task, id and the
-- packed call. It stores just what `enqueue` does, and promises the same: a job that is stored
-- already is left as it is, keys are checked before the first write, and memory that is full
-- refuses that. Most of what `enqueue` costs the server for one job are definitions that are there
-- for other jobs, so this names as few as there can be. Answers r: ready when it came.

local queue, priority, id = ARGV[2], ARGV[3], ARGV[5]
local key, ready = JOB_ .. id, READY_ .. queue
local wrong = misused({[JOBS] = 'zset', [ready] = 'zset', [QUEUES] = 'hash', [COUNTS] = 'hash'})
if wrong then
  return wrong
end

if call('EXISTS', key) == 0 then
  local score = '0'
  if priority == '0' then
    call('HSET', key, 'task', ARGV[4], 'queue', queue, 'state', 'ready', 'call', ARGV[6],
      'created_at', NOW)
  else
    score = text(band(priority))
    call('HSET', key, 'task', ARGV[4], 'queue', queue, 'state', 'ready', 'call', ARGV[6],
      'created_at', NOW, 'priority', priority)
  end
  call('ZADD', JOBS, '0', id)
  call('ZADD', ready, score, id)
  call('HSETNX', QUEUES, queue, '')
  if call('HINCRBY', COUNTS, queue .. ':ready', 1) == 0 then
    call('HDEL', COUNTS, queue .. ':ready')
  end
end
ring(EARS_WORK)
return 'r'
