-- Called by: exchange, the hot path; any number at once. ARGV after the time: worker, request,
-- how many jobs are wanted, how many steps, a queue (or nothing for all, merged) and a limit for
-- each, then the settlements: S (a success with its result), N (one without), K and L (the same for
-- jobs with a key, which is read for them alone), E (an end) or W (a wait), each with its own count
-- of values, the last of E and W what the attempt says of gates; a small letter says that the claim
-- holds something of gates. First everything is read and judged, then claims are let go, which
-- frees memory, so that a server that is full still settles; then ends are written and jobs are
-- claimed. A settlement is fenced by its claim number, as text. Answers: gone, verdicts as 1 and 0,
-- more, microseconds to the next due job or nothing, the time, claims, the gates of claims, 1 where
-- the first claim may have come with news. A claim is a row of values, or one text for a plain job,
-- because a value costs 0.4 us; that text says which of the gates it has, or 0, because most have
-- the same. How a settlement is judged and written is told in settle/, which jobs are claimed and
-- how in claim/.

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
  include 'settle'

  local at = first
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

include 'claim'

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
