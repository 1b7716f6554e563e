-- What has changed of the gates is written, once.

local function value(number)
  return number and text(number) or ''
end

local function instants(list)
  local written = {}
  for place, at in ipairs(list) do
    written[place] = text(at)
  end
  return table.concat(written, ' ')
end

local function write_one(gate)
  local name, hour = gate.name, now - now % HOUR
  if not gate.known then
    call('ZADD', clean(GATES, 'zset'), 0, name)
  end
  if gate.hour ~= hour then
    call('ZADD', clean(TOUCHED, 'zset'), text(hour), name)
  end
  if gate.wake_at ~= gate.was_wake then
    if gate.wake_at then
      call('ZADD', clean(WAKES, 'zset'), text(gate.wake_at), name)
    else
      call('ZREM', clean(WAKES, 'zset'), name)
    end
  end
  local held = held_of(gate)
  if held ~= gate.was_held then
    if held > 0 then
      call('ZADD', clean(TAKEN, 'zset'), text(held), name)
    else
      call('ZREM', clean(TAKEN, 'zset'), name)
    end
  end
  call('HSET', clean(gate_key(name), 'hash'), 'kind', gate.kind, 'quota', text(gate.quota),
    'period', text(gate.period), 'burst', text(gate.burst), 'used', text(gate.used),
    'full_at', text(gate.full_at), 'part', text(gate.part),
    'shut_until', value(gate.shut_until), 'note', gate.note or '', 'woken', text(gate.woken),
    'woken_at', text(gate.woken_at), 'wake_at', value(gate.wake_at),
    'defined_at', text(gate.defined_at), 'is_set', gate.is_set and '1' or '', 'hour', text(hour),
    'tripped', text(gate.tripped), 'probe', gate.probe or '', 'failed', instants(gate.lately))
end

-- Write nothing of a gate that is deleted.
function B.drop(name)
  gates[name] = nil
end

function B.write()
  take_passed()
  for _, name in ipairs(order) do
    local gate = gates[name] or {known = true}
    if gate.changed or gate.wake_at ~= gate.was_wake or not gate.known then
      write_one(gate)
    end
  end
end
