-- Called by: enqueue, enqueue_now; any number at once. ARGV after the time: the request of a
-- batch with keys or nothing, then runs of jobs that are alike, each as queue, priority, task,
-- at, delay, expires_at, expires_in, 1 for jobs with keys or nothing, their gates or nothing, their
-- tenant or nothing, how many, then an id and the packed call of each; one with a key goes on with
-- name, until, hold, max_wait, conflict and hash. A job that is stored already is left as it is,
-- which makes a batch safe to send again for as long as its records are kept: an hour at least; one
-- with keys leaves a record of its answer. All or nothing: keys are checked before the first write,
-- and memory that is full refuses that first write. Answers r, s or b for each job: ready,
-- scheduled or blocked when it came; m for one whose key was held, and then a line for each of
-- these: what came of it, who holds the key, and his state.

local HEAD, KEYED = 11, 8
local request = ARGV[2] ~= '' and request_key(ARGV[2])
local kinds = {[JOBS] = 'zset', [DUE] = 'zset', [EXPIRING] = 'zset', [QUEUES] = 'hash',
  [COUNTS] = 'hash'}
local at = 3
while at <= #ARGV do
  kinds[ready_key(ARGV[at])] = 'zset'
  local many, size = ARGV[at + 10], ARGV[at + 7] == '' and 2 or KEYED
  if size == KEYED then
    for job = at + HEAD, at + HEAD + (many - 1) * KEYED, KEYED do
      kinds[key_key(ARGV[job + 2])] = 'hash'
    end
  end
  at = at + HEAD + size * many
end
if request then
  kinds[NAMES], kinds[request] = 'zset', 'string'
end
local wrong = misused(kinds)
if wrong then
  return wrong
end

if request then
  local made_at, said = string.match(call('GET', request) or '', '^(%d+) (.*)$')
  if made_at and now - made_at < HOUR then
    return said
  end
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

-- Store the new jobs of a run; one that is blocked is in no list but those of all jobs.
local function store(run, state, news)
  local extra, all, listed = {}, {}, {}
  if run.run_at ~= NOW then
    extra[1], extra[2] = 'run_at', run.run_at
  end
  if run.priority ~= '0' then
    extra[#extra + 1], extra[#extra + 2] = 'priority', run.priority
  end
  if run.expires_at then
    extra[#extra + 1], extra[#extra + 2] = 'expires_at', run.expires_at
  end
  if run.gates ~= '' then
    extra[#extra + 1], extra[#extra + 2] = 'gates', run.gates
  end
  local turns = run.tenant ~= '' and state == 'ready'
  if run.tenant ~= '' then
    extra[#extra + 1], extra[#extra + 2] = 'tenant', run.tenant
  end
  local score = state == 'ready' and text(band(run.priority)) or run.run_at
  for i = 1, #news, 2 do
    local id = news[i]
    call('HSET', job_key(id), 'task', run.task, 'queue', run.queue, 'state', state,
      'call', news[i + 1], 'created_at', NOW, unpack(extra))
    all[i], all[i + 1] = '0', id
    listed[i], listed[i + 1] = score, id
    if turns then
      -- Listed at once, because the next job's turn is behind it.
      call('ZADD', ready_key(run.queue), ready_score(id, run.queue, run.priority), id)
    end
    if run.expires_at then
      call('ZADD', EXPIRING, run.expires_at, id)
    end
  end
  call('ZADD', JOBS, unpack(all))
  if state ~= 'blocked' and not turns then
    call('ZADD', state == 'ready' and ready_key(run.queue) or DUE, unpack(listed))
  end
  call('HSETNX', QUEUES, run.queue, '')
  count(run.queue, nil, state, #news / 2)
end

local has_parked, places, gated = false, {}, {}

-- Say what a new job brings along of its gates, and park it if it would find one shut; give the
-- state that it is in then.
local function meet(run, id, state)
  local uses = book().uses(run.gates)
  for _, use in ipairs(uses) do
    book().of(use, now)
  end
  local at_gate = state == 'ready'
  if at_gate and run.keyed then
    -- One behind it in the batch may have given it other values.
    at_gate = book().park_ready(id)
  elseif at_gate then
    at_gate = book().known_shut(uses)
    if at_gate then
      book().park(id, at_gate, uses, run.queue, run.priority)
    end
  end
  if not at_gate then
    return state
  end
  has_parked = true
  return 'blocked'
end

-- Put the values of a new job into one that waits; give its state, or nothing when it does not.
local function replace(id, run, job)
  local key = job_key(id)
  local was = redis.pcall('HMGET', key, 'state', 'queue', 'task', 'created_at', 'attempt', 'reason',
    'waits_at')
  local parked = was[1] == 'blocked' and was[6] == 'gate' and was[7]
  if was.err or not WAITS[was[1]] or (was[1] == 'blocked' and was[6] ~= 'key' and not parked) then
    return
  end
  if parked then
    -- It is ready with its new values, and meets its gates anew.
    unpark(id, was[2] or '')
  end
  local run_at = run.run_at
  if job.max_wait ~= '' then
    run_at = text(math.min(tonumber(run_at), (tonumber(was[4]) or now) + job.max_wait))
  end
  local blocked = was[1] == 'blocked' and not parked
  local state = blocked and 'blocked' or starts(run_at, now)
  unlist(id, was[2] or '', was[3])
  call('HDEL', key, 'priority', 'expires_at', 'parked_at', 'error', 'crashes', 'reason',
    'gates', 'waits_at', 'tenant')
  call('HSET', key, 'task', run.task, 'queue', run.queue, 'state', state, 'call', job.call,
    'run_at', run_at, 'forgiven', was[5] or '0', 'key_until', job.until_)
  if blocked then
    call('HSET', key, 'reason', 'key')
  end
  if run.gates ~= '' then
    call('HSET', key, 'gates', run.gates)
  end
  if run.tenant ~= '' then
    call('HSET', key, 'tenant', run.tenant)
  end
  if run.priority ~= '0' then
    call('HSET', key, 'priority', run.priority)
  end
  if run.expires_at then
    call('HSET', key, 'expires_at', run.expires_at)
    call('ZADD', EXPIRING, run.expires_at, id)
  end
  if state == 'ready' then
    call('ZADD', ready_key(run.queue), ready_score(id, run.queue, run.priority), id)
  elseif state == 'scheduled' then
    call('ZADD', DUE, run_at, id)
  end
  call('HSETNX', QUEUES, run.queue, '')
  count(was[2] or '', was[1], nil)
  count(run.queue, nil, state)
  return state
end

local function store_keyed(run, state, job)
  store(run, state, {job.id, job.call})
  call('HSET', job_key(job.id), 'key', job.name, 'key_until', job.until_)
  if job.hash ~= '' then
    call('HSET', job_key(job.id), 'key_hash', job.hash)
  end
  if state == 'blocked' then
    call('HSET', job_key(job.id), 'reason', 'key')
  end
end

-- Tell what becomes of a new job with a key: its state, or how it met whom in which state.
local function take(run, job)
  local held = key_book().ask(job.name)
  if not held then
    local state = starts(run.run_at, now)
    store_keyed(run, state, job)
    key_book().hold(job.name, job.id, job.until_, job.hash, job.hold)
    return state
  end
  local holder = redis.pcall('HGET', job_key(held.job), 'state')
  holder = type(holder) == 'string' and holder or 'succeeded'
  if held.hash ~= job.hash or job.conflict == 'refuse' then
    return nil, 'refused', held.job, holder
  end
  if job.conflict ~= 'replace' then
    return nil, 'kept', held.job, holder
  end
  for _, id in ipairs({held.next or held.job, held.job}) do
    local state = replace(id, run, job)
    if state then
      return nil, 'replaced', id, state
    end
  end
  -- The holder runs, and nobody waits behind it. A key of a time must not expire with who waits:
  -- whoever asks after that time hands it on, or prune does.
  store_keyed(run, 'blocked', job)
  call('HSET', key_key(job.name), 'next', job.id)
  call('PERSIST', key_key(job.name))
  return 'blocked'
end

local LETTERS = {ready = 'r', scheduled = 's', blocked = 'b'}
local answer, met = {}, {}

-- Tell how a job that is stored already was answered when it came.
local function answered(key, absolute, delay)
  local made = redis.pcall('HGET', key, 'created_at')
  local from = type(made) == 'string' and whole(made) or now
  return LETTERS[starts(instant(absolute, from, delay), from)]
end

local function take_all(run, many, absolute, delay)
  for _ = 1, many do
    local job = {id = ARGV[at], call = ARGV[at + 1], name = ARGV[at + 2], until_ = ARGV[at + 3],
      hold = ARGV[at + 4], max_wait = ARGV[at + 5], conflict = ARGV[at + 6], hash = ARGV[at + 7]}
    if call('EXISTS', job_key(job.id)) == 1 then
      answer[#answer + 1] = answered(job_key(job.id), absolute, delay)
    else
      local state, how, id, of = take(run, job)
      places[job.id] = #answer + 1
      answer[#answer + 1] = state and LETTERS[state] or 'm'
      if state and run.gates ~= '' then
        gated[#gated + 1] = {run, job.id, state}
      end
      if how then
        met[#met + 1] = '\n' .. how .. ' ' .. id .. ' ' .. of
      end
    end
    at = at + KEYED
  end
end

local function store_all(run, many, absolute, delay)
  local keys, news, seen = {}, {}, {}
  for i = 1, many do
    keys[i] = job_key(ARGV[at + 2 * i - 2])
  end
  local none_yet = call('EXISTS', unpack(keys)) == 0
  local state = starts(run.run_at, now)
  for i = 1, many do
    local id = ARGV[at]
    if not seen[id] and (none_yet or call('EXISTS', keys[i]) == 0) then
      seen[id] = true
      news[#news + 1], news[#news + 2] = id, ARGV[at + 1]
      answer[#answer + 1] = LETTERS[state]
    else
      answer[#answer + 1] = answered(keys[i], absolute, delay)
    end
    at = at + 2
  end
  if #news > 0 then
    store(run, state, news)
  end
  for i = 1, run.gates ~= '' and many or 0 do
    local id = ARGV[at - 2 * many + 2 * i - 2]
    if seen[id] then
      places[id] = #answer - many + i
      gated[#gated + 1] = {run, id, state}
      seen[id] = nil
    end
  end
end

at = 3
while at <= #ARGV do
  local absolute, delay, ends, ends_in = ARGV[at + 3], ARGV[at + 4], ARGV[at + 5], ARGV[at + 6]
  local keyed, many = ARGV[at + 7] ~= '', tonumber(ARGV[at + 10])
  local run = {queue = ARGV[at], priority = ARGV[at + 1], task = ARGV[at + 2],
    gates = ARGV[at + 8], tenant = ARGV[at + 9], keyed = keyed,
    run_at = instant(absolute, now, delay),
    expires_at = ends_in ~= '' and text(now + ends_in) or (ends ~= '' and ends or nil)}
  at = at + HEAD
  if keyed then
    take_all(run, many, absolute, delay)
  else
    store_all(run, many, absolute, delay)
  end
end
-- The keys of a batch are judged before its gates: a job that finds no place and ends has stood for
-- those of its batch that it has met.
for _, new in ipairs(gated) do
  answer[places[new[2]]] = LETTERS[meet(unpack(new))]
end
for id in pairs(has_parked and book().ended or {}) do
  -- It found no place, or a newer one of the batch took the place in which it waited.
  if places[id] then
    answer[places[id]] = 'c'
  end
end
local said = table.concat(answer) .. table.concat(met)
if request then
  call('SET', request, NOW .. ' ' .. said, 'PX', HOUR / 1000)
end
close_book()
write_counts()
ring(EARS_WORK)
return said
