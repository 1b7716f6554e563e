-- What a settlement writes of its job: an end that succeeded, another end, or a wait.

-- What is kept until when: one write for all that ended.
local over = {ENDED}

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
