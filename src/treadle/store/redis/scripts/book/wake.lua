-- Who waits becomes ready, the best first, where a gate has room again.

local function cost_at(name, uses)
  for _, use in ipairs(uses) do
    if use.name == name then
      return use.cost
    end
  end
  return 1
end

-- Give a waiting job's row, or clear away what is none.
local function waiting(id, name)
  local row = redis.pcall('HMGET', job_key(id), 'state', 'queue', 'priority', 'expires_at',
    'gates', 'waits_at')
  if not row.err and row[1] == 'blocked' and row[6] == name then
    return row, B.uses(row[5])
  end
  call('ZREM', waiting_key(name), id)
end

-- Let a waiting job become ready, or move it to another gate that does not let it pass.
local function wake_one(id, gate, row, uses)
  local others = {}
  for _, use in ipairs(uses) do
    if use.name ~= gate.name then
      others[#others + 1] = use
    end
  end
  local at = B.first_shut(others)
  call('ZREM', waiting_key(gate.name), id)
  leave_turn('w' .. gate.name, id, tenant_of(id))
  if at then
    list(id, at, row[2] or '', row[3])
    call('HSET', job_key(id), 'waits_at', at)
    gates[at].changed = true
    B.look(gates[at], cost_at(at, uses))
    for _, use in ipairs(others) do
      if use.name == at then
        when_full(id, use)
      end
    end
    return false
  end
  list_ready(id, row[2] or '', row[3], row[4])
  call('ZREM', behind_key(row[2] or ''), id)
  call('HSET', job_key(id), 'state', 'ready')
  call('HDEL', job_key(id), 'reason', 'waits_at')
  count(row[2] or '', 'blocked', 'ready')
  return true
end

-- Wake the best jobs that may pass; give how many became ready.
function B.wake(gate)
  local key = clean(waiting_key(gate.name), 'zset')
  local woken, looks, pending = 0, 0, B.pending(gate)
  local left = B.to_wake(gate) - B.reserved(gate)
  while left > 0 and looks < LOOKS_MAX do
    local page = math.min(left, LOOKS_MAX - looks)
    local ids = call('ZRANGE', key, 0, page - 1)
    looks = looks + #ids
    for _, id in ipairs(ids) do
      local row, uses = waiting(id, gate.name)
      local cost = row and takes(gate, cost_at(gate.name, uses)) or 0
      if cost > left then
        -- Those behind it wait for it, however little they would take.
        looks = LOOKS_MAX
        break
      end
      if row and wake_one(id, gate, row, uses) then
        woken, left, pending = woken + 1, left - cost, pending + cost
        gate.woken, gate.woken_at = pending, now
      end
    end
    if #ids < page then
      break
    end
  end
  if woken > 0 then
    turn(gate)
  end
  gate.wake_at, gate.changed = nil, true
  local best = call('ZRANGE', key, 0, 0)[1]
  if best then
    local _, uses = waiting(best, gate.name)
    B.look(gate, cost_at(gate.name, uses or {}))
  end
  return woken
end

-- Give the best waiting job's cost.
function B.best_cost(name)
  local best = redis.pcall('ZRANGE', waiting_key(name), 0, 0)
  local raw = not best.err and best[1] and redis.pcall('HGET', job_key(best[1]), 'gates')
  return cost_at(name, B.uses(type(raw) == 'string' and raw or ''))
end
