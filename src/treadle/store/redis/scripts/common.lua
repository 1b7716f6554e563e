-- Called by: every script; this text stands before each of them, after the names of the keys.
-- ARGV[1] is the time to go by, or nothing for the server's own. Instants are microseconds: they
-- fit a double exactly until the year 2255. Written as text, because Lua's own conversion of
-- numbers to text keeps 14 digits. A script is the only thing that runs while it runs.

local call = redis.call
local KEEP, HOUR, EXACT = 2592000000000, 3600000000, 9007199254740991
local WAITS = {ready = true, scheduled = true, retrying = true, blocked = true}
local ENDS = {succeeded = true, failed = true, cancelled = true, expired = true}

local now = tonumber(ARGV[1])
if not now then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end

local texts = {}

local function text(number)
  local found = texts[number]
  if not found then
    found = string.format('%.0f', number)
    texts[number] = found
  end
  return found
end

local NOW = string.format('%.0f', now)

-- Read a whole number that a double holds exactly; nil for anything else.
local function whole(value)
  local number = tonumber(value)
  if number and number == math.floor(number) and number >= -EXACT and number <= EXACT then
    return number
  end
end

-- Give an error when a key that the script is about to use is of another type: a script that met
-- it after its first write would leave half of its work done.
local function misused(kinds)
  for key, kind in pairs(kinds) do
    local found = call('TYPE', key).ok
    if found ~= kind and found ~= 'none' then
      return redis.error_reply('MISUSED ' .. key .. ' ' .. found .. ' ' .. kind)
    end
  end
end

-- Write nothing, but with a command that only frees memory. Redis refuses a script's writes when
-- its memory is full, unless one that frees came first: with it a full server still settles.
local function relieve()
  call('HDEL', K, '')
end

-- Wake who waits, once: whoever goes on waiting says so again.
local function ring(ears)
  if call('DEL', ears) == 1 then
    call('PUBLISH', ears, '1')
  end
end

local changes, woken = {}, false

-- Note that jobs of a queue go from one state to another; either may be nil.
local function count(queue, from, to, many)
  local states = changes[queue]
  if not states then
    states = {}
    changes[queue] = states
  end
  if from then
    states[from] = (states[from] or 0) - (many or 1)
  end
  if to then
    states[to] = (states[to] or 0) + (many or 1)
  end
end

local function write_counts()
  for queue, states in pairs(changes) do
    for state, change in pairs(states) do
      local name = queue .. ':' .. state
      if change ~= 0 and call('HINCRBY', COUNTS, name, change) == 0 then
        call('HDEL', COUNTS, name)
      end
    end
  end
  if woken then
    ring(EARS_WORK)
  end
end

-- Turns: a score holds the priority, turned round, above 46 bits of order tag; ties go by id.
local TURN, TAG_MAX, STRIDE = 70368744177664, 70368744177663, 1000

local function band(priority)
  return -(whole(priority) or 0) * TURN
end

-- Name the turns of a tenant in a line: the ready jobs of a queue, or those parked at a gate.
local function turns_of(line, tenant)
  return turns_key(line .. '\0' .. tenant)
end

local function tenant_of(id)
  local tenant = redis.pcall('HGET', job_key(id), 'tenant')
  return type(tenant) == 'string' and tenant ~= '' and tenant or nil
end

-- Give the least tag of a tenant's job in a line; nothing where none waits.
local function least_tag(list, from)
  local head = redis.pcall('ZRANGEBYSCORE', list, text(from + 1), text(from + TAG_MAX),
    'WITHSCORES', 'LIMIT', 0, 1)
  return tonumber(head[2]) and tonumber(head[2]) - from
end

-- A queue that was empty begins where the least of the others has come to.
local function least_of_all(from)
  local least, all = nil, redis.pcall('HGETALL', QUEUES)
  for at = 1, all.err and 0 or #all, 2 do
    local head = all[at + 1] == '' and least_tag(ready_key(all[at]), from)
    if head and (not least or head < least) then
      least = head
    end
  end
  return least
end

-- Give the last tag of a tenant that waits in a line; what a hand has taken out is cleared away.
local function last_tag(list, turns, from)
  for _ = 1, 100 do
    local last = redis.pcall('ZREVRANGEBYSCORE', turns, text(from + TAG_MAX), text(from + 1),
      'WITHSCORES', 'LIMIT', 0, 1)
    if last.err or not last[1] then
      return
    elseif call('ZSCORE', list, last[1]) then
      return tonumber(last[2]) - from
    end
    call('ZREM', turns, last[1])
  end
end

-- Give a tenant's job its turn in a line, and the score of that; `most` is the most that it may be.
local function take_turn(list, line, id, tenant, priority, most)
  local from, turns = band(priority), turns_of(line, tenant)
  local stride = redis.pcall('HGET', STRIDES, tenant)
  stride = type(stride) == 'string' and tonumber(stride) or STRIDE
  local tag = least_tag(list, from)
  if not tag then
    tag = string.sub(line, 1, 1) == 'r' and least_of_all(from) or 1
  end
  local last = last_tag(list, turns, from)
  if last and last + stride > tag then
    tag = last + stride
  end
  tag = math.min(tag, most or TAG_MAX)
  redis.pcall('ZADD', turns, text(from + tag), id)
  call('HSET', job_key(id), 'tag', text(tag))
  return text(from + tag)
end

local function leave_turn(line, id, tenant)
  if tenant then
    redis.pcall('ZREM', turns_of(line, tenant), id)
  end
end

-- Give the score of a job that becomes ready.
local function ready_score(id, queue, priority, most)
  local tenant = tenant_of(id)
  if tenant then
    return take_turn(ready_key(queue), 'r' .. queue, id, tenant, priority, most)
  end
  return text(band(priority))
end

-- Take a waiting job out of the lists that it waits in.
local function unlist(id, queue, task)
  call('ZREM', ready_key(queue), id)
  leave_turn('r' .. queue, id, tenant_of(id))
  call('ZREM', DUE, id)
  call('ZREM', EXPIRING, id)
  call('ZREM', PARKED, (task or '') .. '\0' .. id)
end

-- Put a job that becomes ready where it is claimed, by a turn that is at the most so far.
local function list_ready(id, queue, priority, expires_at, most)
  call('ZADD', ready_key(queue), ready_score(id, queue, priority, most), id)
  if tonumber(expires_at) then
    call('ZADD', EXPIRING, expires_at, id)
  end
end

-- What frees a key depends on what it is held until.
local FREED_BY_CLAIM, FREED_BY_SUCCESS, FREED_BY_END = 'claim', 'success', 'end'

local opened_keys

-- Give the functions that read and write keys. They are made where a job has one, so that others,
-- which are most, do not pay for them.
local function key_book()
  if opened_keys then
    return opened_keys
  end
  local H, FREES = {}, {claim = {claim = true}, success = {claim = true, ['end'] = true},
    ['end'] = {claim = true, ['end'] = true, record = true}}
  opened_keys = H

  -- Tell whether this frees a key that is held until that.
  function H.frees(by, until_)
    return FREES[by][until_]
  end

  -- Let a job hold a key; `hold` is for how long, or nothing.
  function H.hold(name, id, until_, hash, hold)
    local key = key_key(name)
    call('DEL', key)
    call('HSET', key, 'job', id, 'until', until_, 'hash', hash)
    if until_ == 'time' then
      call('HSET', key, 'until_at', text(now + hold))
      call('PEXPIRE', key, math.ceil(hold / 1000))
    end
    call('ZADD', NAMES, 0, name)
  end

  -- Read a key that is held; nothing when its time is over, or its job is gone, and then who waits
  -- behind.
  function H.read(name)
    local row = redis.pcall('HMGET', key_key(name), 'job', 'until', 'until_at', 'hash', 'next')
    if row.err or not row[1] then
      return
    end
    if row[2] == 'time' then
      if (tonumber(row[3]) or 0) <= now then
        return nil, row[5]
      end
    elseif call('EXISTS', job_key(row[1])) == 0 then
      return nil, row[5]
    end
    return {job = row[1], until_ = row[2], until_at = row[3], hash = row[4] or '', next = row[5]}
  end

  -- Make a job ready that waited behind the holder of its key, or let it wait for its time.
  local function wake(id)
    local row = redis.pcall('HMGET', job_key(id), 'state', 'queue', 'priority', 'run_at',
      'expires_at', 'key_until')
    local ready = call('TYPE', ready_key(row[2] or '')).ok
    if row.err or row[1] ~= 'blocked' or (ready ~= 'zset' and ready ~= 'none') then
      return
    end
    local state = (tonumber(row[4] or 0) or 0) > now and 'scheduled' or 'ready'
    if state == 'ready' then
      list_ready(id, row[2] or '', row[3], row[5])
    else
      call('ZADD', DUE, row[4], id)
    end
    call('HSET', job_key(id), 'state', state)
    call('HDEL', job_key(id), 'reason')
    count(row[2] or '', 'blocked', state)
    woken = true
    return row[6] or 'end'
  end

  -- Hand a key to the job that waits behind its holder, or to nobody.
  function H.let_go(name, behind)
    local until_ = behind and wake(behind)
    if until_ then
      H.hold(name, behind, until_, '')
    else
      call('DEL', key_key(name))
      call('ZREM', NAMES, name)
    end
  end

  -- Read a key that is held, for who wants it; one whose holder is gone goes to who waits behind.
  function H.ask(name)
    local held, behind = H.read(name)
    if behind then
      H.let_go(name, behind)
      held = H.read(name)
    end
    return held
  end

  -- Free the key that a job holds when this frees it; one that ends waits for none.
  function H.free(id, name, by)
    local row = redis.pcall('HMGET', key_key(name), 'job', 'until', 'next')
    if row[1] == id and H.frees(by, row[2]) then
      H.let_go(name, row[3])
    elseif row[3] == id and by ~= FREED_BY_CLAIM then
      call('HDEL', key_key(name), 'next')
    end
  end

  return H
end

-- Free the key that a job holds, if it has one and this frees it.
local function free_key(id, name, by)
  if name and name ~= '' then
    key_book().free(id, name, by)
  end
end

-- Say until when an ended job is kept: an hour from when it was made, at least, so that whoever
-- enqueued it may send that again.
local function kept(created_at, keep)
  local earliest = (tonumber(created_at) or now) + HOUR
  return text(earliest > now + keep and whole(earliest) or now + keep)
end

-- Take a parked job from its gate.
local function unpark(id, queue)
  local at = redis.pcall('HGET', job_key(id), 'waits_at')
  if type(at) == 'string' then
    redis.pcall('ZREM', waiting_key(at), id)
    leave_turn('w' .. at, id, tenant_of(id))
    redis.pcall('ZREM', behind_key(queue), id)
  end
end

-- End a waiting job without an attempt: cancelled, purged or expired.
local function end_waiting(id, found, state, reason)
  local until_ = kept(found.created_at, KEEP)
  unlist(id, found.queue or '', found.task)
  if found.state == 'blocked' then
    unpark(id, found.queue or '')
  end
  call('HSET', job_key(id), 'state', state, 'outcome', state, 'reason', reason,
    'finished_at', NOW, 'keep_until', until_)
  call('ZADD', ENDED, until_, id)
  count(found.queue or '', found.state, state)
  free_key(id, found.key, FREED_BY_END)
end

-- Make a job that cannot be read a dead letter, so that it never stops its neighbours.
local function set_aside(id, queue, state, why)
  local key = job_key(id)
  local kind = call('TYPE', key).ok
  call('ZREM', ready_key(queue), id)
  call('ZREM', DUE, id)
  call('ZREM', EXPIRING, id)
  if kind == 'none' then
    return
  end
  if kind ~= 'hash' then
    call('DEL', key)
  elseif state == 'blocked' then
    unpark(id, queue)
  else
    leave_turn('r' .. queue, id, tenant_of(id))
  end
  local number, attempt = call('HGET', key, 'number'), call('HGET', key, 'attempt')
  local until_ = kept(call('HGET', key, 'created_at'), KEEP)
  call('HSET', key, 'state', 'failed', 'outcome', 'unreadable', 'reason', 'unreadable',
    'number', text(math.min((whole(number or 0) or EXACT) + 1, EXACT)),
    'attempt', text(math.min(whole(attempt or 0) or 0, 1000000)), 'queue', queue,
    'error', '{"type":"UnreadableRow","message":"' .. why .. '"}',
    'finished_at', NOW, 'keep_until', until_)
  call('HDEL', key, 'worker')
  call('ZADD', ENDED, until_, id)
  call('ZADD', DEAD, 0, id)
  call('ZADD', JOBS, 0, id)
  count(queue, state, 'failed')
  free_key(id, call('HGET', key, 'key'), FREED_BY_END)
end

-- Add an attempt to those before the last one: eight values each, 50 attempts at most. A list that
-- somebody has made another thing of is left to him.
local function record(id, number, attempt, worker, started_at, finished_at, outcome, failure, ran)
  local key = attempts_key(id)
  redis.pcall('RPUSH', key, number, attempt, worker, started_at, finished_at, outcome, failure, ran)
  redis.pcall('LTRIM', key, -400, -1)
end

-- Give a claim back unspent: ready again, under a number that fences its holder off. It is listed
-- first: should that fail, nothing has been written of it.
local function give_back(id, number)
  local key = job_key(id)
  local found = call('HMGET', key, 'attempt', 'queue', 'priority', 'expires_at', 'tag')
  list_ready(id, found[2] or '', found[3], found[4], whole(found[5]))
  call('HSET', key, 'state', 'ready', 'number', text(number + 1),
    'attempt', text((whole(found[1]) or 1) - 1))
  call('HDEL', key, 'worker', 'started_at')
  count(found[2] or '', 'running', 'ready')
end

-- What a claim is read from; the id stands in the place of the state when it goes out. What comes
-- after the seventh is there for few jobs.
local CLAIM = {'state', 'number', 'attempt', 'task', 'queue', 'call', 'created_at', 'priority',
  'forgiven', 'crashes', 'run_at', 'expires_at', 'parked_at', 'started_at', 'key', 'gates'}
