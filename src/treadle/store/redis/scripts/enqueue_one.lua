-- Called by: enqueue, enqueue_now, for one job that is ready at once and has nothing out of the
-- ordinary, as most; any number at once. ARGV after the time: queue, priority, task, id and the
-- packed call. It stores just what `enqueue` does, and promises the same: a job that is stored
-- already is left as it is, a key of another type leaves nothing written, and memory that is full
-- refuses the first write. Most of what `enqueue` costs the server for one job are definitions that
-- are there for other jobs, so this names as few as there can be. Answers r: ready when it came.
-- Where an idle worker waits and would claim this job next, it is claimed for it here and sent with
-- the news (docs/adr/0026); should the news be lost, the worker's next exchange gives it again.

local ARGV, ask = ARGV, redis.pcall
local queue, priority, id = ARGV[2], ARGV[3], ARGV[5]
local key, ready = JOB_ .. id, READY_ .. queue
-- Of a queue: nothing when it is new, an empty text when it is open.
local since = ask('HGET', QUEUES, queue)
local listens, handed = ask('GET', EARS_WORK), false
local is_new = call('EXISTS', key) == 0

-- Tell whether a key that is used here is of another type.
local function wrong()
  return misused({[JOBS] = 'zset', [ready] = 'zset', [COUNTS] = 'hash', [QUEUES] = 'hash'})
end

if type(since) == 'table' then
  return wrong() or since
end

-- Hand the job to a worker that would claim just this one next, holds nothing, has beaten of late
-- and hears what is sent to it. Others that wait are still marked: there is nothing for them.
if is_new and type(listens) == 'string' and listens ~= '1' and priority == '0'
  and (since or '') == '' then
  local me, held, found = WORKER_ .. listens, HELD_ .. listens, wrong()
  if found then
    return found
  end
  local its = ask('HMGET', me, 'info', 'beat_at', 'lease')
  local beat_at, lease = tonumber(its[2] or ''), tonumber(its[3] or '')
  if call('ZCARD', ready) == 0
    and #ask('ZRANGEBYLEX', GATES, '[task:', '(task;', 'LIMIT', 0, 1) == 0
    and its[1] and beat_at and lease and now - beat_at < lease * 2 / 3 and call('EXISTS', held) == 0
    and ask('PUBSUB', 'NUMSUB', me)[2] == 1 then
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

if is_new and not handed then
  local score = priority == '0' and '0' or string.format('%.0f', -priority * TURN)
  -- A command refuses a key of another type as a whole, which costs less than to ask for the type
  -- of each; what was written before it is taken back.
  local all = ask('ZADD', JOBS, '0', id)
  local line = type(all) == 'number' and ask('ZADD', ready, score, id)
  local many = type(line) == 'number' and ask('HINCRBY', COUNTS, queue .. ':ready', 1)
  if type(many) ~= 'number' then
    if all == 1 then
      call('ZREM', JOBS, id)
    end
    if line == 1 then
      call('ZREM', ready, id)
    end
    return wrong() or many or line or all
  end
  if many == 0 then
    call('HDEL', COUNTS, queue .. ':ready')
  end
  if priority == '0' then
    call('HSET', key, 'task', ARGV[4], 'queue', queue, 'state', 'ready', 'call', ARGV[6],
      'created_at', NOW)
  else
    call('HSET', key, 'task', ARGV[4], 'queue', queue, 'state', 'ready', 'call', ARGV[6],
      'created_at', NOW, 'priority', priority)
  end
end
if not since then
  call('HSETNX', QUEUES, queue, '')
end
if listens and not handed and call('DEL', EARS_WORK) == 1 then
  call('PUBLISH', EARS_WORK, '1')
end
return 'r'
