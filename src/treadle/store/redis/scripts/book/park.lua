-- Jobs wait: parked at the gate that does not let them pass, or ended there where they say so.

local function list(id, at, queue, priority)
  local key, tenant = clean(waiting_key(at), 'zset'), tenant_of(id)
  local score = text(band(priority))
  if tenant then
    score = take_turn(key, 'w' .. at, id, tenant, priority)
  end
  call('ZADD', key, score, id)
  call('ZADD', clean(behind_key(queue), 'zset'), score, id)
end

B.ended = {}

local function end_full(id, reason)
  local row = call('HMGET', job_key(id), 'state', 'queue', 'task', 'created_at', 'key')
  end_waiting(id, {state = row[1], queue = row[2], task = row[3], created_at = row[4],
    key = row[5]}, 'cancelled', reason)
  B.ended[id] = true
end

local function is_first_wait(id, at)
  local row = redis.pcall('HMGET', job_key(id), 'state', 'waits_at', 'number')
  return not row.err and row[1] == 'blocked' and row[2] == at and (whole(row[3] or 0) or 1) == 0
end

local function id_text(id)
  return string.sub(id, 1, 8) .. '-' .. string.sub(id, 9, 12) .. '-' .. string.sub(id, 13, 16)
    .. '-' .. string.sub(id, 17, 20) .. '-' .. string.sub(id, 21)
end

-- Do what a job that was parked just now says of a gate without a free place.
local function when_full(id, use)
  if (use.on_full or '') == '' or not is_first_wait(id, use.name) then
    return
  elseif use.on_full == 'skip' then
    if not B.is_shut(B.of(use)) then
      end_full(id, 'no free place')
    end
  elseif use.on_full == 'replace' then
    local key = clean(newest_key(use.name), 'string')
    local other = call('GET', key)
    local newest = id
    if other and other ~= id and is_first_wait(other, use.name) then
      newest = other > id and other or id
      end_full(newest == id and other or id, 'replaced by ' .. id_text(newest))
    end
    call('SET', key, newest)
  end
end

-- Park a ready job at a gate that does not let it pass. One that is met by a claim may have been
-- woken by its other gates: they pass its place on.
function B.park(id, at, uses, queue, priority, met_by_claim)
  take_passed()
  call('ZREM', ready_key(queue), id)
  leave_turn('r' .. queue, id, tenant_of(id))
  list(id, at, queue, priority)
  call('HSET', job_key(id), 'state', 'blocked', 'reason', 'gate', 'waits_at', at)
  count(queue, 'ready', 'blocked')
  for _, use in ipairs(uses) do
    local gate = B.of(use)
    gate.changed = true
    if met_by_claim then
      gate.woken = math.max(0, gate.woken - takes(gate, use.cost))
    end
    if use.name == at then
      B.look(gate, use.cost)
      when_full(id, use)
    elseif met_by_claim and gate.wake_at then
      gate.wake_at = math.min(gate.wake_at, now)
    end
  end
end

-- Park a job that has become ready, if one of its gates is known to be shut; give that gate.
function B.park_ready(id)
  local row = redis.pcall('HMGET', job_key(id), 'gates', 'queue', 'priority', 'state')
  if row.err or not row[1] or row[4] ~= 'ready' then
    return
  end
  local uses = B.uses(row[1])
  local at = B.known_shut(uses)
  if at then
    B.park(id, at, uses, row[2] or '', row[3])
  end
  return at
end
