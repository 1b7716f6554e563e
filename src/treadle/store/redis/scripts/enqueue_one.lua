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
local wrong = misused({[JOBS] = 'zset', [ready] = 'zset', [QUEUES] = 'hash', [COUNTS] = 'hash'})
if wrong then
  return wrong
end

local function add(state)
  if call('HINCRBY', COUNTS, queue .. ':' .. state, 1) == 0 then
    call('HDEL', COUNTS, queue .. ':' .. state)
  end
end

-- Tell whether a worker holds nothing, has beaten of late, and hears what is sent to it.
local function is_idle(worker, me)
  local its = redis.pcall('HMGET', me, 'info', 'beat_at', 'lease')
  local beat_at, lease = tonumber(its[2] or ''), tonumber(its[3] or '')
  return its[1] and beat_at and lease and now - beat_at < lease * 2 / 3
    and call('EXISTS', held_key(worker)) == 0 and redis.pcall('PUBSUB', 'NUMSUB', me)[2] == 1
end

-- Give the worker that waits for any job, if this is the one which it would claim next.
local function taker()
  local worker = priority == '0' and redis.pcall('GET', EARS_WORK)
  if type(worker) ~= 'string' or worker == '1' or call('ZCARD', ready) > 0
    or (call('HGET', QUEUES, queue) or '') ~= '' or #redis.pcall('ZRANGEBYLEX', GATES, '[task:',
      '(task;', 'LIMIT', 0, 1) > 0 then
    return
  end
  return is_idle(worker, worker_key(worker)) and worker
end

-- Store the job as claimed. Others that wait are still marked: there is nothing for them.
local function hand_to(worker)
  call('HSET', key, 'task', ARGV[4], 'queue', queue, 'state', 'running', 'call', ARGV[6],
    'created_at', NOW, 'number', '1', 'attempt', '1', 'worker', worker, 'started_at', NOW)
  call('SADD', held_key(worker), id .. '1')
  call('HSET', worker_key(worker), 'handed', id)
  call('SET', EARS_WORK, '1', 'KEEPTTL')
  add('running')
  call('PUBLISH', worker_key(worker), id .. ' 1 1 ' .. NOW .. ' ' .. #ARGV[4] .. ' ' .. #queue
    .. ' 0 ' .. ARGV[4] .. queue .. ARGV[6])
end

local function list()
  local score = '0'
  if priority == '0' then
    call('HSET', key, 'task', ARGV[4], 'queue', queue, 'state', 'ready', 'call', ARGV[6],
      'created_at', NOW)
  else
    score = text(band(priority))
    call('HSET', key, 'task', ARGV[4], 'queue', queue, 'state', 'ready', 'call', ARGV[6],
      'created_at', NOW, 'priority', priority)
  end
  call('ZADD', ready, score, id)
  add('ready')
  ring(EARS_WORK)
end

if call('EXISTS', key) == 0 then
  local worker = taker()
  if worker then
    hand_to(worker)
  else
    list()
  end
  call('ZADD', JOBS, '0', id)
  call('HSETNX', QUEUES, queue, '')
else
  ring(EARS_WORK)
end
return 'r'
