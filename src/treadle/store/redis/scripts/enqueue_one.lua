-- Called by: enqueue, enqueue_now, for one job that is ready at once and has nothing out of the
-- ordinary, as most; any number at once. ARGV after the time: queue, priority, task, id and the
-- packed call. It stores just what `enqueue` does, and promises the same: a job that is stored
-- already is left as it is, keys are checked before the first write, and memory that is full
-- refuses that. Most of what `enqueue` costs the server for one job are definitions that are there
-- for other jobs, so this names as few as there can be. Answers r: ready when it came.
-- Where an idle worker waits and would claim this job next, it is claimed for it here and sent with
-- the news (docs/adr/0026); should the news be lost, the worker's next exchange gives it again.

local queue, priority, id = ARGV[2], ARGV[3], ARGV[5]
local key, ready = JOB_ .. id, READY_ .. queue
-- Of a queue: nothing when it is new, an empty text when it is open.
local since = redis.pcall('HGET', QUEUES, queue)
local kinds = {[JOBS] = 'zset', [ready] = 'zset', [COUNTS] = 'hash'}
if type(since) == 'table' then
  kinds[QUEUES] = 'hash'
end
local wrong = misused(kinds)
if wrong then
  return wrong
end

local listens, handed = redis.pcall('GET', EARS_WORK), false

-- Hand the job to a worker that would claim just this one next, holds nothing, has beaten of late
-- and hears what is sent to it. Others that wait are still marked: there is nothing for them.
if type(listens) == 'string' and listens ~= '1' and priority == '0' and call('EXISTS', key) == 0
  and call('ZCARD', ready) == 0 and (since or '') == ''
  and #redis.pcall('ZRANGEBYLEX', GATES, '[task:', '(task;', 'LIMIT', 0, 1) == 0 then
  local me, held = WORKER_ .. listens, HELD_ .. listens
  local its = redis.pcall('HMGET', me, 'info', 'beat_at', 'lease')
  local beat_at, lease = tonumber(its[2] or ''), tonumber(its[3] or '')
  if its[1] and beat_at and lease and now - beat_at < lease * 2 / 3 and call('EXISTS', held) == 0
    and redis.pcall('PUBSUB', 'NUMSUB', me)[2] == 1 then
    call('HSET', key, 'task', ARGV[4], 'queue', queue, 'state', 'running', 'call', ARGV[6],
      'created_at', NOW, 'number', '1', 'attempt', '1', 'worker', listens, 'started_at', NOW)
    call('ZADD', JOBS, '0', id)
    call('SADD', held, id .. '1')
    call('HSET', me, 'handed', id)
    if call('HINCRBY', COUNTS, queue .. ':running', 1) == 0 then
      call('HDEL', COUNTS, queue .. ':running')
    end
    call('SET', EARS_WORK, '1', 'KEEPTTL')
    call('PUBLISH', me, id .. ' 1 1 ' .. NOW .. ' ' .. #ARGV[4] .. ' ' .. #queue .. ' 0 '
      .. ARGV[4] .. queue .. ARGV[6])
    handed = true
  end
end

if not handed and call('EXISTS', key) == 0 then
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
  if call('HINCRBY', COUNTS, queue .. ':ready', 1) == 0 then
    call('HDEL', COUNTS, queue .. ':ready')
  end
end
if not since then
  call('HSETNX', QUEUES, queue, '')
end
if listens and not handed and call('DEL', EARS_WORK) == 1 then
  call('PUBLISH', EARS_WORK, '1')
end
return 'r'
