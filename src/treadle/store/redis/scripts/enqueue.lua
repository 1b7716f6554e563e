-- Called by: enqueue, enqueue_now; any number at once. ARGV after the time: runs of jobs that
-- are alike, each as queue, priority, task, at, delay, expires_at, expires_in, gates, how many,
-- then an id and the packed call of each. A job that is stored already is left as it is, which
-- makes a batch safe to send again for as long as its records are kept: an hour at least. All or
-- nothing: keys are checked before the first write, and memory that is full refuses that first
-- write. Answers r, s or b for each job: ready, scheduled or parked at a gate when it came.

local kinds = {[JOBS] = 'zset', [DUE] = 'zset', [EXPIRING] = 'zset', [QUEUES] = 'hash',
  [COUNTS] = 'hash'}
local at = 2
while at <= #ARGV do
  kinds[ready_key(ARGV[at])] = 'zset'
  at = at + 9 + 2 * ARGV[at + 8]
end
local wrong = misused(kinds)
if wrong then
  return wrong
end

local function instant(absolute, from, delay)
  if absolute ~= '' then
    return absolute
  end
  return text(from + delay)
end

local function starts(run_at, from)
  return tonumber(run_at) > from and 'scheduled' or 'ready'
end

-- Store the new jobs of a run.
local function store(queue, priority, task, run_at, expires_at, gates, news)
  local state = starts(run_at, now)
  local extra, all, listed = {}, {}, {}
  if run_at ~= NOW then
    extra[1], extra[2] = 'run_at', run_at
  end
  if priority ~= '0' then
    extra[#extra + 1], extra[#extra + 2] = 'priority', priority
  end
  if expires_at then
    extra[#extra + 1], extra[#extra + 2] = 'expires_at', expires_at
  end
  if gates ~= '' then
    extra[#extra + 1], extra[#extra + 2] = 'gates', gates
  end
  local score = state == 'ready' and text(-priority) or run_at
  for i = 1, #news, 2 do
    local id = news[i]
    call('HSET', job_key(id), 'task', task, 'queue', queue, 'state', state,
      'call', news[i + 1], 'created_at', NOW, unpack(extra))
    all[i], all[i + 1] = '0', id
    listed[i], listed[i + 1] = score, id
    if expires_at then
      call('ZADD', EXPIRING, expires_at, id)
    end
  end
  call('ZADD', JOBS, unpack(all))
  call('ZADD', state == 'ready' and ready_key(queue) or DUE, unpack(listed))
  call('HSETNX', QUEUES, queue, '')
  count(queue, nil, state, #news / 2)
end

-- Park new jobs that would find a gate shut; note them by id.
local blocked = {}
local function meet(queue, priority, gates, news)
  local uses = book().uses(gates)
  for _, use in ipairs(uses) do
    book().of(use, now)
  end
  for i = 1, #news, 2 do
    local at = call('HGET', job_key(news[i]), 'state') == 'ready' and book().known_shut(uses)
    if at then
      book().park(news[i], at, uses, queue, priority)
      blocked[news[i]] = true
    end
  end
end

local answer = {}
at = 2
while at <= #ARGV do
  local queue, priority, task, absolute, delay = ARGV[at], ARGV[at + 1], ARGV[at + 2],
    ARGV[at + 3], ARGV[at + 4]
  local ends, ends_in, many = ARGV[at + 5], ARGV[at + 6], tonumber(ARGV[at + 8])
  local gates, first = ARGV[at + 7], #answer
  local keys, news, seen = {}, {}, {}
  at = at + 9
  for i = 1, many do
    keys[i] = job_key(ARGV[at + 2 * i - 2])
  end
  local none_yet = call('EXISTS', unpack(keys)) == 0
  local run_at = instant(absolute, now, delay)
  local expires_at = ends_in ~= '' and text(now + ends_in) or (ends ~= '' and ends or nil)
  local state = starts(run_at, now) == 'ready' and 'r' or 's'
  for i = 1, many do
    local id = ARGV[at]
    if not seen[id] and (none_yet or call('EXISTS', keys[i]) == 0) then
      seen[id] = true
      news[#news + 1], news[#news + 2] = id, ARGV[at + 1]
      answer[#answer + 1] = state
    else
      local made = redis.pcall('HGET', keys[i], 'created_at')
      local from = type(made) == 'string' and whole(made) or now
      answer[#answer + 1] = starts(instant(absolute, from, delay), from) == 'ready' and 'r' or 's'
    end
    at = at + 2
  end
  if #news > 0 then
    store(queue, priority, task, run_at, expires_at, gates, news)
    if gates ~= '' then
      meet(queue, priority, gates, news)
    end
    for i = 1, many do
      if blocked[ARGV[at - 2 * many + 2 * i - 2]] then
        answer[first + i] = 'b'
      end
    end
  end
end
close_book()
write_counts()
ring(EARS_WORK)
return table.concat(answer)
