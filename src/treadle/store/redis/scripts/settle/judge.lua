-- Which settlements hold: each is read and compared with its claim, before anything is written.
-- What is found here the other parts use: the rows of jobs by id and their keys, the claims to let
-- go by worker, the ids of jobs with gates, and what attempts say of gates, each behind its id.

-- How many words a settlement has, by its kind.
local SIZES = {S = 6, N = 5, K = 6, L = 5, E = 14, W = 14}
local GATED = {s = 'S', n = 'N', k = 'K', l = 'L', e = 'E', w = 'W'}
local judged, keys, freed, gated, said, lists = {}, {}, {}, {}, {}, {}

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

-- Give the verdict on the settlement whose words begin there: 1 where it holds, else 0.
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
