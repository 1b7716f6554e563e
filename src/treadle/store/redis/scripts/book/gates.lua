-- What a gate is: its row, read once and made as jobs say. A key of another type than its own is no
-- gate and no list of one: it is cleared away, because a script must not fail half way.

local function clean(key, kind)
  if not checked[key] then
    local found = call('TYPE', key).ok
    if found ~= kind and found ~= 'none' then
      call('DEL', key)
    end
    checked[key] = true
  end
  return key
end
B.clean = clean

local function number(value)
  local found = tonumber(value)
  return found and math.floor(found) or nil
end

local function are_uses(found)
  if type(found) ~= 'table' then
    return false
  end
  for _, use in pairs(found) do
    if type(use) ~= 'table' or type(use.name) ~= 'string' or type(use.kind) ~= 'string' then
      return false
    end
    for _, field in ipairs({'cost', 'quota', 'period', 'burst'}) do
      if type(use[field]) ~= 'number' then
        return false
      end
    end
  end
  return true
end

-- Count what running jobs hold of a gate: places, or the one that a breaker lets through.
local function held_of(gate)
  return gate.used + (gate.probe and 1 or 0)
end

-- Read the gates of a job; what a hand has damaged is none.
function B.uses(raw)
  if not raw or raw == '' then
    return {}
  end
  if not decoded[raw] then
    local read, found = pcall(cjson.decode, raw)
    decoded[raw] = read and are_uses(found) and found or {}
  end
  return decoded[raw]
end

-- Let those starts of a window go that have left it, and sum up what the others took. They are
-- kept by turns: the instant, then what those of that instant took, the oldest first.
local function slide(gate)
  local starts, kept, sum = gate.lately, {}, 0
  for place = 1, #starts - 1, 2 do
    if starts[place] > now - gate.period then
      kept[#kept + 1] = starts[place]
      kept[#kept + 1] = starts[place + 1]
      sum = sum + starts[place + 1]
    end
  end
  gate.lately, gate.taken = kept, sum
end

function B.find(name)
  if gates[name] then
    return gates[name]
  end
  local row = call('HMGET', clean(gate_key(name), 'hash'), 'kind', 'quota', 'period', 'burst',
    'used', 'full_at', 'part', 'shut_until', 'note', 'woken', 'woken_at', 'wake_at',
    'defined_at', 'is_set', 'hour', 'tripped', 'probe', 'failed')
  if not row[1] then
    return nil
  end
  local gate = {name = name, kind = row[1], quota = number(row[2]) or 1,
    period = number(row[3]) or 1, burst = number(row[4]) or 1, used = number(row[5]) or 0,
    full_at = number(row[6]) or 0, part = number(row[7]) or 0, shut_until = number(row[8]),
    note = row[9] or nil, woken = number(row[10]) or 0, woken_at = number(row[11]) or 0,
    wake_at = number(row[12]), defined_at = number(row[13]) or 0, is_set = row[14] == '1',
    hour = number(row[15]) or 0, tripped = number(row[16]) or 0,
    probe = row[17] and row[17] ~= '' and row[17] or nil, lately = {}}
  for at in string.gmatch(row[18] or '', '%d+') do
    gate.lately[#gate.lately + 1] = tonumber(at)
  end
  if gate.kind == 'window' then
    slide(gate)
  end
  gate.was_wake, gate.was_held, gate.known = gate.wake_at, held_of(gate), true
  gates[name], order[#order + 1] = gate, name
  return gate
end

-- Count the running jobs that name each gate.
function B.running()
  local running = {}
  for _, worker in ipairs(call('ZRANGE', clean(WORKERS, 'zset'), 0, -1)) do
    for _, claim in ipairs(call('SMEMBERS', clean(held_key(worker), 'set'))) do
      local row = redis.pcall('HMGET', job_key(string.sub(claim, 1, 32)), 'state', 'number',
        'gates')
      if row[1] == 'running' and row[2] == string.sub(claim, 33) and row[3] then
        for _, use in ipairs(B.uses(row[3])) do
          running[use.name] = (running[use.name] or 0) + 1
        end
      end
    end
  end
  return running
end

-- Take a definition; what becomes a bound on places counts what runs already, and what has
-- started in a window counts on.
function B.define(gate, use)
  if gate.kind ~= use.kind then
    gate.lately = {}
  end
  if gate.known and gate.kind ~= use.kind then
    gate.used, gate.woken = use.kind == 'places' and (B.running()[gate.name] or 0)
      + call('ZCARD', clean(holds_key(gate.name), 'zset')) or 0, 0
  end
  gate.kind, gate.quota, gate.period, gate.burst = use.kind, use.quota, use.period, use.burst
  gate.part, gate.changed = 0, true
  gate.full_at = math.min(gate.full_at,
    now + math.floor(use.burst * use.period / math.max(1, use.quota)))
  if gate.kind == 'window' then
    slide(gate)
    gate.full_at = (gate.lately[#gate.lately - 1] or -gate.period) + gate.period
  end
end

local function is_defined_so(gate, use)
  return gate.kind == use.kind and gate.quota == use.quota and gate.period == use.period
    and gate.burst == use.burst
end

-- Read a gate that a job carries, or make it as the job says; a newer job's word counts.
function B.of(use, defined_at)
  local gate = B.find(use.name)
  if not gate then
    gate = {name = use.name, used = 0, full_at = 0, woken = 0, woken_at = 0, hour = 0,
      defined_at = defined_at or 0, was_held = 0, tripped = 0, lately = {}}
    B.define(gate, use)
    gates[use.name], order[#order + 1] = gate, use.name
  elseif defined_at and defined_at > gate.defined_at and not gate.is_set then
    gate.defined_at, gate.changed = defined_at, true
    if not is_defined_so(gate, use) then
      B.define(gate, use)
      gate.wake_at = now
    end
  end
  return gate
end

local function takes(gate, cost)
  return (gate.kind == 'rate' or gate.kind == 'window') and math.min(cost, gate.burst) or 1
end
B.takes = takes
