-- What a gate lets pass now, and when it will let more pass. The rules are told in
-- core/gates/gate.py.

function B.is_shut(gate)
  return gate.shut_until ~= nil and gate.shut_until > now
end

-- Keep a start in a window.
local function keep_start(gate, cost)
  local starts = gate.lately
  local last = starts[#starts - 1]
  if last and last >= now then
    -- Of one instant; or the clock has stepped back, and no start is older than the one before.
    starts[#starts] = starts[#starts] + cost
  else
    starts[#starts + 1] = now
    starts[#starts + 1] = cost
  end
  gate.taken, gate.full_at = gate.taken + cost, starts[#starts - 1] + gate.period
end

-- Tell when so many of the oldest starts have left a window that this much has room.
local function leaves_at(gate, cost)
  local starts, over, at, place = gate.lately, gate.taken + cost - gate.quota, now, 1
  while over > 0 and starts[place + 1] do
    over, at = over - starts[place + 1], starts[place] + gate.period
    place = place + 2
  end
  return at
end

function B.room(gate)
  if B.is_shut(gate) then
    return 0
  elseif gate.kind == 'places' then
    return math.max(0, gate.quota - gate.used)
  elseif gate.kind == 'rate' then
    local ahead = gate.full_at - now
    local missing = ahead >= 0 and ahead * gate.quota + gate.part or 0
    return math.max(0, math.floor((gate.burst * gate.period - missing) / gate.period))
  elseif gate.kind == 'window' then
    return math.max(0, gate.quota - gate.taken)
  elseif gate.kind == 'breaker' and gate.tripped > 0 then
    return gate.probe and 0 or 1
  end
  return ALL
end

-- Tell whether all may pass while it is not shut.
local function boundless(gate)
  return gate.kind == 'switch' or (gate.kind == 'breaker' and gate.tripped == 0)
end

function B.opens_at(gate, cost)
  local at = now
  if B.is_shut(gate) then
    if gate.shut_until >= FOREVER then
      return nil
    end
    at = gate.shut_until
  end
  if (gate.kind == 'places' and gate.used >= gate.quota) or gate.probe then
    return nil
  elseif gate.kind == 'rate' then
    local spare = (gate.burst - takes(gate, cost)) * gate.period - gate.part
    at = math.max(at, gate.full_at - math.floor(spare / gate.quota))
  elseif gate.kind == 'window' then
    at = math.max(at, leaves_at(gate, takes(gate, cost)))
  end
  return at
end

-- Note when stage must look at a gate at which a job of this cost waits.
function B.look(gate, cost)
  local again = B.opens_at(gate, cost)
  if again and again <= now then
    again = boundless(gate) and now or now + WOKEN_FOR
  end
  if again then
    gate.wake_at = math.min(gate.wake_at or again, again)
  end
end
