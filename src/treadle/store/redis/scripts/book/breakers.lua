-- Breakers: what attempts tell of them, when they trip and close. Told in core/gates/tells.py.

-- Give those of a job's gates that are breakers.
function B.breakers(uses)
  local found = {}
  for _, use in ipairs(uses) do
    local gate = B.find(use.name)
    if gate and gate.kind == 'breaker' then
      found[#found + 1] = use
    end
  end
  return found
end

-- Close a breaker; any other gate is open then.
function B.close(gate)
  gate.tripped, gate.probe = 0, nil
  if gate.kind == 'breaker' then
    gate.lately = {}
  end
  gate.shut_until, gate.note, gate.wake_at, gate.changed = nil, nil, now, true
end

local function trip(gate, why)
  gate.shut_until = now + gate.burst * 2 ^ math.min(gate.tripped, DOUBLINGS_MAX)
  gate.tripped, gate.probe, gate.lately = gate.tripped + 1, nil, {}
  gate.note, gate.wake_at, gate.changed = why, gate.shut_until, true
end

-- Count a failure of a closed breaker.
local function fail(gate, why)
  local lately = {}
  for _, at in ipairs(gate.lately) do
    if at > now - gate.period then
      lately[#lately + 1] = at
    end
  end
  lately[#lately + 1] = now
  gate.lately, gate.changed = lately, true
  if #lately >= gate.quota then
    trip(gate, why)
  end
end

-- Let a breaker know that an attempt of this job ended well, or failed, and note whether that
-- changed it. Shut it learns nothing, and half open it heeds its probe alone.
function B.tell(name, says, why, id, freed)
  local gate = B.find(name)
  if not gate or gate.kind ~= 'breaker' or B.is_shut(gate) then
    return
  end
  if gate.tripped == 0 then
    if says == 'failed' then
      fail(gate, why)
      freed[name] = true
    end
  elseif gate.probe == id then
    if says == 'well' then
      B.close(gate)
    else
      trip(gate, why)
    end
    freed[name] = true
  end
end

-- Let nothing pass a gate for so long; the latest instant counts.
function B.hold(name, span, why)
  local gate = B.of({name = name, kind = 'switch', quota = 0, period = 0, burst = 0})
  local till = math.min(now + span, FOREVER)
  if not gate.shut_until or gate.shut_until < till then
    gate.shut_until, gate.note, gate.wake_at, gate.changed = till, why, till, true
  end
end
