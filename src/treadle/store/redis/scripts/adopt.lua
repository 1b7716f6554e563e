-- Called by: adopt, while jobs are moved here from another store; any number at once. ARGV after
-- the time: the seal of the other side, then for each job id, queue, state, expires_at or
-- keep_until, how many fields and values, attempts' values and log lines' values, and those. A job
-- that is there already is left as it is. All is checked before the first write, which a server
-- that is full refuses. Answers 1 for each job that was written, else 0.

local other, answer, at = ARGV[2], {}, 3
local wrong = misused({[JOBS] = 'zset', [EXPIRING] = 'zset', [ENDED] = 'zset', [DEAD] = 'zset',
  [QUEUES] = 'hash', [COUNTS] = 'hash'})
if wrong then
  return wrong
end

local function size(from)
  return 7 + ARGV[from + 4] + ARGV[from + 5] + ARGV[from + 6]
end

while at <= #ARGV do
  local reason = redis.pcall('HGET', job_key(ARGV[at]), 'reason')
  if type(reason) == 'string' and string.sub(reason, 1, #other) == other then
    return redis.error_reply('SAME ' .. ARGV[at])
  end
  at = at + size(at)
end

-- Write a run of values, a thousand at a time: a call takes only so many.
local function put(command, key, from, many)
  for start = from, from + many - 1, 1000 do
    call(command, key, unpack(ARGV, start, math.min(start + 999, from + many - 1)))
  end
end

at = 3
while at <= #ARGV do
  local id, queue, state, until_ = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local fields, past, lines = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5]), ARGV[at + 6] + 0
  if call('EXISTS', job_key(id)) == 1 then
    answer[#answer + 1] = '0'
  else
    put('HSET', job_key(id), at + 7, fields)
    put('RPUSH', attempts_key(id), at + 7 + fields, past)
    put('RPUSH', logs_key(id), at + 7 + fields + past, lines)
    call('ZADD', JOBS, 0, id)
    if state == 'failed' then
      call('ZADD', ENDED, until_, id)
      call('ZADD', DEAD, 0, id)
    elseif until_ ~= '' then
      call('ZADD', EXPIRING, until_, id)
    end
    call('HSETNX', QUEUES, queue, '')
    count(queue, nil, state)
    answer[#answer + 1] = '1'
  end
  at = at + size(at)
end
write_counts()
return table.concat(answer)
