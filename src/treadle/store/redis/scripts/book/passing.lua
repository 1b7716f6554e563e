-- Jobs meet their gates: which one is shut, what passing takes of them, and what ending gives back.

function B.first_shut(uses, defined_at)
  for _, use in ipairs(uses) do
    local gate = B.of(use, defined_at)
    if B.room(gate) < takes(gate, use.cost) then
      return use.name
    end
  end
end

-- Do the same for a job that becomes ready, which does not overtake those that wait.
function B.known_shut(uses)
  for _, use in ipairs(uses) do
    local gate = B.of(use)
    if B.room(gate) < takes(gate, use.cost)
        or call('EXISTS', clean(waiting_key(use.name), 'zset')) == 1
        or B.first_asking(use.name) then
      return use.name
    end
  end
end

-- Give the gates of tasks that are paused, by task: those stored under these names, and those
-- that are shut in this call.
function B.paused_tasks(names)
  local paused = {}
  for _, name in ipairs(names) do
    B.find(name)
  end
  for name, gate in pairs(gates) do
    if string.sub(name, 1, #TASK) == TASK and B.is_shut(gate) then
      paused[string.sub(name, #TASK + 1)] = {name = name, kind = 'switch', cost = 1, quota = 0,
        period = 0, burst = 0}
    end
  end
  return paused
end

-- Count what passes, jobs or a hold; places by their number, as all others by their cost.
function B.spend(gate, cost)
  gate.changed = true
  if gate.kind == 'places' then
    gate.used = gate.used + cost
  elseif gate.kind == 'rate' then
    if gate.full_at < now then
      gate.full_at, gate.part = now, 0
    end
    local whole_part = gate.part + cost * gate.period
    gate.full_at = gate.full_at + math.floor(whole_part / gate.quota)
    gate.part = whole_part % gate.quota
  elseif gate.kind == 'window' then
    keep_start(gate, cost)
  end
  local opens = B.opens_at(gate, 1)
  -- Who waits is looked at when there is room again, which may be sooner than was said: at once
  -- where some is left, for he may cost more and wait for a start that leaves.
  local starts = gate.kind == 'rate' or gate.kind == 'window'
  if not opens or (gate.wake_at and (opens > now or starts)) then
    gate.wake_at = opens
  end
end

-- The jobs that pass one after another mostly carry the same gates. What these let pass is worked
-- out once and counted down, and what has passed is taken together, which comes to the same.
local passing

local function take_passed()
  local all = passing
  passing = nil
  for _, use in ipairs(all and all.uses or {}) do
    local gate = gates[use.name]
    local cost = all.many * takes(gate, use.cost)
    if all.newest > gate.defined_at and not gate.is_set then
      gate.defined_at = all.newest
    end
    gate.woken = math.max(0, gate.woken - cost)
    if gate.kind == 'breaker' and gate.tripped > 0 then
      gate.probe = all.last
    end
    B.spend(gate, cost)
  end
end

-- Tell how many jobs that carry these may pass when the first of them may; one where a gate is
-- defined otherwise, because each newer job may say anew what it is.
local function let_pass(uses)
  local many, costs = ALL, {}
  for _, use in ipairs(uses) do
    local gate, name = gates[use.name], use.name
    costs[name] = (costs[name] or 0) + takes(gate, use.cost)
    local fit = math.floor(B.room(gate) / costs[name])
    many = math.min(many, (gate.is_set or is_defined_so(gate, use)) and fit or 1)
  end
  return many
end

-- Let a job pass its gates, or name the first that is shut.
function B.pass(uses, id, defined_at)
  if not (passing and passing.uses == uses and passing.many < passing.most) then
    take_passed()
    local shut = B.first_shut(uses, defined_at)
    if shut then
      return shut
    end
    passing = {uses = uses, many = 0, most = let_pass(uses), newest = 0}
  end
  passing.many, passing.last = passing.many + 1, id
  passing.newest = math.max(passing.newest, defined_at or 0)
end

-- Tell what woken jobs will take that are still to be claimed.
function B.pending(gate)
  return now - gate.woken_at < WOKEN_FOR and gate.woken or 0
end

-- Tell how much of the room may be given to jobs that wait.
function B.to_wake(gate)
  local room = B.room(gate)
  return boundless(gate) and room or math.max(0, room - B.pending(gate))
end

-- Take back what jobs hold that carry these and run no more, and note of which gates.
function B.free(uses, ids, freed)
  for _, use in ipairs(uses) do
    -- What the gate bounds now counts, and not what it bounded when the job was enqueued.
    local gate = B.find(use.name)
    local frees = gate and gate.kind == 'places'
    for _, id in ipairs(gate and gate.probe and ids or {}) do
      frees = frees or gate.probe == id
    end
    if frees then
      if gate.kind == 'places' then
        gate.used = math.max(0, gate.used - #ids)
      end
      gate.probe, gate.wake_at, gate.changed = nil, now, true
      if freed then
        freed[use.name] = true
      end
    end
  end
end
