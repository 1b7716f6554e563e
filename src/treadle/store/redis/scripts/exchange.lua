-- Called by: exchange, the hot path; any number at once. ARGV after the time: worker, request,
-- how many jobs are wanted, how many steps, a queue (or nothing for all, merged) and a limit for
-- each, then the settlements: S (a success with its result), N (one without), K and L (the same for
-- jobs with a key, which is read for them alone), E (an end) or W (a wait), each with its own count
-- of values, the last of E and W what the attempt says of gates; a small letter says that the claim
-- holds something of gates. First everything is read and
-- judged, then claims are let go, which frees memory, so that a server that is full still settles;
-- then ends are written and jobs are claimed. A settlement is fenced by the claim number, compared
-- as text. Answers: gone, verdicts as 1 and 0, more, time to the next due job or nothing, the time,
-- claims, the gates of claims, 1 where the first claim may have come with news. A claim is a row of
-- values, or one text for a plain job, because a value costs 0.4 us; that text says which of the
-- gates it has, or 0, because most have the same.

-- Locals: a global is looked up by its name, each time.
local ARGV, ask = ARGV, redis.pcall
local worker, request = ARGV[2], ARGV[3]
local wanted, steps = tonumber(ARGV[4]), tonumber(ARGV[5])
local me, held = worker_key(worker), held_key(worker)
local mine = call('HMGET', me, 'info', 'request', 'verdicts', 'claims', 'handed')
local known = mine[1]

-- Give a claim that was made before, whatever became of its job; nothing when that is gone.
local function claimed(id, number)
  local row = ask('HMGET', job_key(id), unpack(CLAIM))
  if not row.err and row[4] then
    row[1], row[2] = id, number
    return row
  end
end

-- Give the claims of a request that was carried out before.
local function again()
  local claims, packed = {}, cmsgpack.unpack(mine[4])
  for i = 1, #packed, 2 do
    claims[#claims + 1] = claimed(packed[i], packed[i + 1])
  end
  return {0, mine[3], 1, false, NOW, claims, {}, 1}
end

if known and mine[2] == request then
  return again()
end

local wrong = misused({[JOBS] = 'zset', [DUE] = 'zset', [EXPIRING] = 'zset', [PARKED] = 'zset',
  [ENDED] = 'zset', [DEAD] = 'zset', [QUEUES] = 'hash', [COUNTS] = 'hash', [held] = 'set'})
if wrong then
  return wrong
end

-- Settle

local first, verdicts, any_waits = 6 + 2 * steps, {}, false

-- Settle what there is; gives an error before the first write, or nothing. All of it is in here,
-- because an exchange that only claims, as an idle worker's does, need not define it.
local function settle()
  local SIZES = {S = 6, N = 5, K = 6, L = 5, E = 14, W = 14}
  local GATED, gated = {s = 'S', n = 'N', k = 'K', l = 'L', e = 'E', w = 'W'}, {}
  local judged, freed = {}, {}

  local over, keys, lists = {ENDED}, {}, {}

  -- Read what a settlement's fence and its writing need; a success needs less.
  local function read(key, kind, is_gated)
    if SIZES[kind] == 14 then
      return ask('HMGET', key, 'state', 'number', 'worker', 'queue', 'created_at', 'key', 'gates',
        'started_at', 'priority', 'expires_at', 'parked_at', 'task', 'attempt', 'tag')
    elseif is_gated then
      return ask('HMGET', key, 'state', 'number', 'worker', 'queue', 'created_at', 'key', 'gates')
    elseif kind == 'K' or kind == 'L' then
      return ask('HMGET', key, 'state', 'number', 'worker', 'queue', 'created_at', 'key')
    end
    return ask('HMGET', key, 'state', 'number', 'worker', 'queue', 'created_at')
  end

  local function judge(at, is_gated)
    local id, number = ARGV[at + 1], ARGV[at + 2]
    local key = JOB_ .. id
    local was = read(key, ARGV[at], is_gated)
    if judged[id] or was.err or was[1] ~= 'running' or was[2] ~= number then
      return '0'
    end
    judged[id], keys[id] = was, key
    if ARGV[at] == 'W' then
      lists[ready_key(was[4] or '')] = 'zset'
    end
    local claims = freed[was[3] or '']
    if not claims then
      claims = {held_key(was[3] or '')}
      freed[was[3] or ''] = claims
    end
    claims[#claims + 1] = id .. number
    if is_gated then
      gated[#gated + 1] = id
    end
    return '1'
  end

  local function end_at(id, until_)
    over[#over + 1], over[#over + 2] = until_, id
  end

  local function succeeded(at, id, was)
    local key, until_ = keys[id], kept(was[5], ARGV[at + 3])
    if ARGV[at] == 'S' or ARGV[at] == 'K' then
      call('HSET', key, 'state', 'succeeded', 'finished_at', NOW, 'keep_until', until_,
        'ran', ARGV[at + 4], 'result', ARGV[at + 5])
    else
      call('HSET', key, 'state', 'succeeded', 'finished_at', NOW, 'keep_until', until_,
        'ran', ARGV[at + 4])
    end
    if was[2] ~= '1' then
      call('HDEL', key, 'error', 'reason', 'parked_at')
    end
    end_at(id, until_)
    return 'succeeded'
  end

  -- Write an end: keep, state, attempt, outcome, reason, forgiven, crashes, ran, lost_by, error.
  local function ended(at, id, was)
    local key, until_, state = keys[id], kept(was[5], ARGV[at + 3]), ARGV[at + 4]
    call('HSET', key, 'state', state, 'attempt', ARGV[at + 5], 'outcome', ARGV[at + 6],
      'reason', ARGV[at + 7], 'forgiven', ARGV[at + 8], 'crashes', ARGV[at + 9],
      'ran', ARGV[at + 10], 'error', ARGV[at + 12], 'finished_at', NOW, 'keep_until', until_)
    if ARGV[at + 11] ~= '' then
      call('HSET', key, 'worker', ARGV[at + 11])
    end
    call('HDEL', key, 'result', 'parked_at')
    end_at(id, until_)
    if state == 'failed' then
      call('ZADD', DEAD, 0, id)
    end
    return state
  end

  -- Write a wait: delay, state, attempt, outcome, reason, forgiven, crashes, ran, lost_by, error.
  local function waits(at, id, was)
    local key, delay, state = keys[id], tonumber(ARGV[at + 3]), ARGV[at + 4]
    local outcome, reason, failure = ARGV[at + 6], ARGV[at + 7], ARGV[at + 12]
    if outcome ~= '' then
      local lost_by = ARGV[at + 11]
      record(id, was[2], was[13] or '0', lost_by ~= '' and lost_by or was[3] or '', was[8] or '',
        NOW, outcome, failure, ARGV[at + 10])
    end
    if delay == 0 then
      state = 'ready'
    end
    call('HDEL', key, 'worker', 'started_at', 'ran', 'outcome')
    call('HSET', key, 'state', state, 'attempt', ARGV[at + 5], 'reason', reason,
      'forgiven', ARGV[at + 8], 'crashes', ARGV[at + 9])
    if outcome ~= '' or delay ~= 0 then
      call('HSET', key, 'run_at', text(now + delay))
    end
    if failure ~= '' then
      call('HSET', key, 'error', failure)
    end
    if reason == 'unknown_task' then
      call('HSETNX', key, 'parked_at', NOW)
    elseif was[11] then
      call('HDEL', key, 'parked_at')
    end
    if state == 'ready' then
      -- What went back unspent keeps its turn.
      list_ready(id, was[4], was[9], was[10], outcome == '' and whole(was[14]) or nil)
    else
      call('ZADD', DUE, text(now + delay), id)
      if tonumber(was[10]) then
        call('ZADD', EXPIRING, was[10], id)
      end
      if reason == 'unknown_task' then
        call('ZADD', PARKED, 0, (was[12] or '') .. '\0' .. id)
      end
    end
    return state
  end

  local WRITE = {S = succeeded, N = succeeded, K = succeeded, L = succeeded, E = ended, W = waits}
  local at, said = first, {}
  while at <= #ARGV do
    local is_gated = GATED[ARGV[at]]
    ARGV[at] = is_gated or ARGV[at]
    verdicts[#verdicts + 1] = judge(at, is_gated)
    if SIZES[ARGV[at]] == 14 and ARGV[at + 13] ~= '' and verdicts[#verdicts] == '1' then
      said[#said + 1], said[#said + 2] = ARGV[at + 1], ARGV[at + 13]
    end
    at = at + SIZES[ARGV[at]]
  end
  local wrong = misused(lists)
  if wrong then
    return wrong
  end
  if #verdicts > 0 then
    relieve()
    for _, claims in pairs(freed) do
      call('SREM', unpack(claims))
    end
    at = first
    for i = 1, #verdicts do
      if verdicts[i] == '1' then
        local id = ARGV[at + 1]
        local was = judged[id]
        local state = WRITE[ARGV[at]](at, id, was)
        was.state = state
        count(was[4] or '', 'running', state)
        if was[6] and ENDS[state] then
          free_key(id, was[6], state == 'succeeded' and FREED_BY_SUCCESS or FREED_BY_END)
        end
        any_waits = any_waits or ARGV[at] == 'W'
      end
      at = at + SIZES[ARGV[at]]
    end
    if #over > 1 then
      call('ZADD', unpack(over))
    end
  end

  -- Let gates know what attempts say of them; of those that shut one the latest counts, whatever
  -- their order.
  local function tell(settled, freed)
    local shuts = {}
    for i = 1, #said, 2 do
      for _, word in ipairs(cjson.decode(said[i + 1])) do
        local why = type(word[4]) == 'string' and word[4] or ''
        if word[2] == 'shut' then
          shuts[#shuts + 1] = {word[1], word[3], why}
        else
          book().tell(word[1], word[2], why, said[i], freed)
        end
      end
    end
    for uses, ids in pairs(settled) do
      for _, use in ipairs(book().breakers(uses)) do
        for _, id in ipairs(ids) do
          if judged[id].state == 'succeeded' then
            book().tell(use.name, 'well', '', id, freed)
          end
        end
      end
    end
    for _, shut in ipairs(shuts) do
      book().shut(unpack(shut))
    end
  end

  -- Let go of what settled claims held of gates, and wake who waits for it. Most claims have the
  -- same gates, so they are gone through by these.
  local function let_go()
    local settled, freed, names = {}, {}, {}
    for _, id in ipairs(gated) do
      local uses = book().uses(judged[id][7])
      settled[uses] = settled[uses] or {}
      settled[uses][#settled[uses] + 1] = id
    end
    tell(settled, freed)
    for uses, ids in pairs(settled) do
      book().free(uses, ids, freed)
    end
    for _, id in ipairs(gated) do
      if judged[id].state == 'ready' then
        book().park_ready(id)
      end
    end
    for name in pairs(freed) do
      names[#names + 1] = name
    end
    table.sort(names)
    for _, name in ipairs(names) do
      if book().wake(book().find(name)) > 0 then
        any_waits = true
      end
    end
  end

  if #gated > 0 or #said > 0 then
    let_go()
  end
end

if first <= #ARGV then
  wrong = settle()
  if wrong then
    return wrong
  end
end

-- Claim

local claims, holds, packed, fell_away, parked = {}, {held}, {}, false, 0
local carried, places_of = {}, {}
local paused

local function expire(id, row, queue)
  local found = {created_at = row[7], queue = queue, task = row[4], state = 'ready',
    key = row[14]}
  end_waiting(id, found, 'expired', 'expired')
end

-- Park a job whose task is paused at the gate of the task, which it does not carry; tell whether.
local function is_held(id, queue)
  local row = ask('HMGET', JOB_ .. id, 'task', 'state', 'priority', 'expires_at', 'gates')
  local gate = not row.err and row[1] and paused[row[1]]
  if not gate or row[2] ~= 'ready' or (row[4] and (tonumber(row[4]) or 0) <= now) then
    return false
  end
  local uses = {gate}
  for _, use in ipairs(book().uses(row[5])) do
    uses[#uses + 1] = use
  end
  book().park(id, gate.name, uses, queue, row[3], true)
  fell_away, parked = true, parked + 1
  return true
end

-- Let a job pass its gates, or park it at the first that is shut.
local function passes(id, gates, created_at, queue, priority)
  local uses = book().uses(gates)
  local at = book().pass(uses, id, whole(created_at))
  if at then
    book().park(id, at, uses, queue, priority, true)
    fell_away, parked = true, parked + 1
    return false
  end
  return true
end

-- Write a claim, and note it for the answer as `row`.
local function hold(id, queue, n, tried, row)
  call('HSET', JOB_ .. id, 'state', 'running', 'number', n, 'attempt', tried,
    'worker', worker, 'started_at', NOW)
  claims[#claims + 1] = row
  holds[#holds + 1] = id .. n
  packed[#packed + 1], packed[#packed + 2] = id, n
  count(queue, 'ready', 'running')
end

-- Say which of the gates in the answer these are.
local function place_of(gates)
  local place = places_of[gates]
  if not place then
    carried[#carried + 1] = gates
    place = text(#carried)
    places_of[gates] = place
  end
  return place
end

-- `times` is when it was made, and behind a colon when it was due, if that is another time.
local function plain(id, n, tried, task, of, words, times, gates)
  return id .. ' ' .. n .. ' ' .. tried .. ' ' .. times .. ' ' .. text(#task) .. ' '
    .. text(#of) .. ' ' .. (gates and place_of(gates) or '0') .. ' ' .. task .. of .. words
end

-- Claim a job that has never run and has nothing out of the ordinary but gates or a time at which
-- it was due, as most: that it has five fields, or six, and these five, and one of the two, says
-- that it has no other, each of which would be looked for.
local function claim_new(id, queue)
  local key, row = JOB_ .. id, nil
  local fields = ask('HLEN', key)
  if fields == 5 then
    row = ask('HMGET', key, 'state', 'task', 'queue', 'call', 'created_at')
  elseif fields == 6 then
    row = ask('HMGET', key, 'state', 'task', 'queue', 'call', 'created_at', 'gates', 'run_at')
  end
  if not row or row[1] ~= 'ready' or not (row[2] and row[3] and row[4] and whole(row[5])) then
    return false
  end
  local gates, due, times = row[6], row[7], row[5]
  if fields == 6 and not gates and not (due and whole(due)) then
    return false
  elseif gates and not passes(id, gates, row[5], queue) then
    return true
  end
  if due then
    times = times .. ':' .. due
  end
  hold(id, queue, '1', '1', plain(id, '1', '1', row[2], row[3], row[4], times, gates))
  return true
end

local function claim(id, queue, score)
  if score % TURN ~= 0 then
    leave_turn('r' .. queue, id, tenant_of(id))
  end
  if (paused and is_held(id, queue)) or claim_new(id, queue) then
    return
  end
  local key = JOB_ .. id
  local row = ask('HMGET', key, 'state', 'number', 'attempt', 'task', 'queue', 'call',
    'created_at', 'priority', 'forgiven', 'crashes', 'run_at', 'expires_at', 'parked_at', 'key',
    'gates')
  local number, attempt = whole(row[2] or 0), whole(row[3] or 0)
  if row.err or row[1] ~= 'ready' then
    fell_away = true
    if row.err or (row[1] and not (WAITS[row[1]] or ENDS[row[1]] or row[1] == 'running')) then
      set_aside(id, queue, 'ready', 'its state is none')
    end
    return
  end
  if not (number and attempt and number < EXACT and attempt < EXACT and row[4] and row[5]
      and row[6] and whole(row[7]) and tonumber(row[12] or 0)) then
    fell_away = true
    return set_aside(id, queue, 'ready', 'a number, its task, queue or call cannot be read')
  end
  if row[12] then
    if tonumber(row[12]) <= now then
      fell_away = true
      return expire(id, row, queue)
    end
  end
  if row[15] and not passes(id, row[15], row[7], queue, row[8]) then
    return
  end
  if row[12] then
    call('ZREM', EXPIRING, id)
  end
  number, attempt = number + 1, attempt + 1
  local n, tried = text(number), text(attempt)
  if number > 1 then
    call('HDEL', key, 'reason', 'outcome')
  end
  local name, gates = row[14], row[15]
  if name then
    free_key(id, name, FREED_BY_CLAIM)
  end
  if row[8] or row[9] or row[10] or row[11] or row[12] or row[13] or name then
    row[1], row[2], row[3], row[14], row[15], row[16] = id, n, attempt, NOW, name, gates
  else
    row = plain(id, n, tried, row[4], row[5], row[6], row[7], gates)
  end
  hold(id, queue, n, tried, row)
end

-- Take the best jobs of one queue.
local function take(queue, room)
  local popped = ask('ZPOPMIN', ready_key(queue), room)
  if popped.err then
    return
  end
  for i = 1, #popped, 2 do
    claim(popped[i], queue, tonumber(popped[i + 1]))
  end
end

-- Take again while jobs are parked at gates: what is behind them may pass.
local function take_past(room, take_some)
  local target = #claims + room
  repeat
    local met = parked
    take_some(target - #claims)
  until parked == met or parked >= PARKED_MAX or #claims >= target
end

local function before(a, b)
  if a.score ~= b.score then
    return a.score < b.score
  end
  return a.id < b.id
end

-- Sink the head at a place of the heap until none below it comes before it.
local function sink(heap, place)
  while true do
    local least, left = place, 2 * place
    if heap[left] and before(heap[left], heap[least]) then
      least = left
    end
    if heap[left + 1] and before(heap[left + 1], heap[least]) then
      least = left + 1
    end
    if least == place then
      return
    end
    heap[place], heap[least] = heap[least], heap[place]
    place = least
  end
end

-- Let a head show its queue's next job; false when the queue is empty.
local function advance(head, chunk)
  if head.next > #head.jobs then
    head.jobs = ask('ZRANGE', ready_key(head.queue), head.from, head.from + chunk - 1,
      'WITHSCORES')
    head.from, head.next = head.from + chunk, 1
    if head.jobs.err or #head.jobs == 0 then
      return false
    end
  end
  head.id, head.score = head.jobs[head.next], tonumber(head.jobs[head.next + 1])
  head.next = head.next + 2
  return true
end

-- Take the best jobs of these queues together.
local function merge(queues, room)
  local heap, chunk, taken = {}, math.max(8, math.ceil(2 * room / #queues)), {}
  for _, queue in ipairs(queues) do
    local head = {queue = queue, from = 0, next = 1, jobs = {}}
    if advance(head, chunk) then
      heap[#heap + 1] = head
    end
  end
  for place = math.floor(#heap / 2), 1, -1 do
    sink(heap, place)
  end
  while room > 0 and heap[1] do
    local head = heap[1]
    taken[#taken + 1] = head
    taken[#taken + 1] = head.id
    taken[#taken + 1] = head.score
    if not advance(head, chunk) then
      heap[1] = heap[#heap]
      heap[#heap] = nil
    end
    if heap[1] then
      sink(heap, 1)
    end
    room = room - 1
  end
  for i = 1, #taken, 3 do
    call('ZREM', ready_key(taken[i].queue), taken[i + 1])
    claim(taken[i + 1], taken[i].queue, taken[i + 2])
  end
end

local function open_queues()
  local all, open = call('HGETALL', QUEUES), {}
  for i = 1, #all, 2 do
    if all[i + 1] == '' then
      open[#open + 1] = all[i]
    end
  end
  return open
end

-- Give the claim that came with an enqueue's news, which may have been lost, if it is held still.
local handed

local function give_handed(id)
  call('HDEL', me, 'handed')
  handed = call('SISMEMBER', held, id .. '1') == 1 and claimed(id, '1')
  if handed then
    claims[1], packed[1], packed[2] = handed, id, '1'
  end
end

if known then
  if mine[5] then
    give_handed(mine[5])
  end
  paused = wanted > 0 and paused_tasks() or nil
  for step = 0, steps - 1 do
    local queue, limit = ARGV[6 + 2 * step], tonumber(ARGV[7 + 2 * step])
    local room = math.min(limit, wanted - #claims)
    if room > 0 and queue == '' then
      local open = open_queues()
      if #open == 1 then
        take_past(room, function(left) take(open[1], left) end)
      elseif #open > 1 then
        take_past(room, function(left) merge(open, left) end)
      end
    elseif room > 0 and (call('HGET', QUEUES, queue) or '') == '' then
      take_past(room, function(left) take(queue, left) end)
    end
  end
  if #holds > 1 then
    call('SADD', unpack(holds))
  end
  if #claims > 0 or #verdicts > 0 then
    call('HSET', me, 'request', request, 'verdicts', table.concat(verdicts),
      'claims', cmsgpack.pack(packed))
  end
end
close_book()
write_counts()
if #verdicts > 0 then
  ring(EARS_ENDS)
  if any_waits then
    ring(EARS_WORK)
  end
end

local short, next_due = #claims < wanted or wanted == 0, false
if short then
  local due = call('ZRANGE', DUE, 0, 0, 'WITHSCORES')
  local wakes = redis.pcall('ZRANGE', WAKES, 0, 0, 'WITHSCORES')
  local at = math.min(tonumber(due[2]) or math.huge, tonumber(wakes[2]) or math.huge)
  if at < math.huge then
    next_due = math.max(0, at - now)
  end
end
return {known and 0 or 1, table.concat(verdicts), (fell_away or not short) and 1 or 0, next_due,
  NOW, claims, carried, handed and 1 or 0}
