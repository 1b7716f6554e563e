-- Called by: shut_gate, open_gate, set_gate, reset_gate; any number at once. ARGV after the time:
-- which of them (shut, open, set, reset), the gate's name, then for shut: how long or nothing, why;
-- for set: kind, quota, period, burst, 1 where another kind may change. Answers 1 when this call
-- changed something.

local verb, name = ARGV[2], ARGV[3]
relieve()

local function shut()
  local gate = book().of({name = name, kind = 'switch', quota = 0, period = 0, burst = 0})
  local till = ARGV[4] == '' and FOREVER or math.min(now + ARGV[4], FOREVER)
  if gate.shut_until and gate.shut_until > math.max(till, now) then
    -- It is shut for longer.
    return 0
  end
  gate.shut_until, gate.note, gate.wake_at, gate.changed = till, ARGV[5], nil, true
  if call('EXISTS', waiting_key(name)) == 1 then
    book().look(gate, book().best_cost(name))
  end
  return 1
end

local function open()
  local gate = book().find(name)
  if not gate or not (book().is_shut(gate) or gate.tripped > 0) then
    return 0
  end
  book().close(gate)
  book().wake(gate)
  return 1
end

local function set()
  local use = {name = name, kind = ARGV[4], quota = tonumber(ARGV[5]), period = tonumber(ARGV[6]),
    burst = tonumber(ARGV[7])}
  local gate = book().find(name)
  if gate and gate.kind ~= use.kind and gate.kind ~= 'switch' and ARGV[8] ~= '1' then
    return 0
  end
  gate = gate or book().of(use)
  book().define(gate, use)
  gate.is_set = true
  book().wake(gate)
  return 1
end

local function reset()
  local gate = book().find(name)
  if not gate or not gate.is_set then
    return 0
  end
  gate.is_set, gate.defined_at, gate.changed = false, now - 1, true
  return 1
end

local VERBS = {shut = shut, open = open, set = set, reset = reset}
local done = VERBS[verb]()
close_book()
write_counts()
ring(EARS_WORK)
return done
