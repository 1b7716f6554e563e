-- Called by: starts and receive, while jobs are moved from store to store; any number at once. ARGV
-- after the time: which of them (read, take), the gate's name; then for take: the move, kind,
-- quota, period, burst, the time of the other store, and starts in turns: instant, what was taken.
-- What it makes of them is told in core/gates/arriving.py. Answers: read, the time, the gate's
-- numbers and its starts, or nothing; take, 1, or 0 where the gate is of another kind.

local verb, name = ARGV[2], ARGV[3]
local STARTS_MAX, MOVES_MAX = 10000, 8

local function read()
  local gate = call('TYPE', gate_key(name)).ok == 'hash' and book().find(name)
  if not gate or gate.kind ~= 'window' or #gate.lately == 0 then
    return false
  end
  local found = {}
  for place, number in ipairs(gate.lately) do
    found[place] = text(number)
  end
  return {NOW, gate.quota, text(gate.period), gate.burst, found}
end

-- Add up starts by their instants; those that have come by this move before are left out.
local function add_up(gate, last_at, last_took)
  local there, sums, order = tonumber(ARGV[9]), {}, {}
  local function add(at, took)
    if not sums[at] then
      order[#order + 1] = at
    end
    sums[at] = (sums[at] or 0) + took
  end
  for place = 1, #gate.lately - 1, 2 do
    add(gate.lately[place], gate.lately[place + 1])
  end
  for place = 10, #ARGV - 1, 2 do
    local at, took = tonumber(ARGV[place]), tonumber(ARGV[place + 1])
    if at == last_at then
      took = took - last_took
    end
    if at >= last_at and took > 0 then
      add(now - there + at, took)
    end
  end
  table.sort(order)
  return sums, order
end

-- Keep the newest starts, no more than any window counts, in a gate.
local function keep(gate, sums, order)
  local kept, first, sum = {}, #order + 1, 0
  while first > 1 and sum < STARTS_MAX do
    first = first - 1
    sum = sum + sums[order[first]]
  end
  for place = first, #order do
    kept[#kept + 1], kept[#kept + 2] = order[place], sums[order[place]]
  end
  gate.lately, gate.taken, gate.changed = kept, sum, true
  gate.full_at = (kept[#kept - 1] or -gate.period) + gate.period
end

-- Read which starts have come: of this move, and the moves before it as they are kept.
local function read_came(move)
  local last_at, last_took, others = -1, 0, {}
  for one in string.gmatch(call('HGET', gate_key(name), 'came') or '', '[^;]+') do
    local of, at, took = string.match(one, '^(%S+) (-?%d+) (%d+)$')
    if of == move then
      last_at, last_took = tonumber(at), tonumber(took)
    elseif of then
      others[#others + 1] = one
    end
  end
  return last_at, last_took, others
end

local function take()
  local use = {name = name, kind = ARGV[5], quota = tonumber(ARGV[6]), period = tonumber(ARGV[7]),
    burst = tonumber(ARGV[8])}
  relieve()
  local gate = book().of(use)
  if gate.kind == 'switch' then
    book().define(gate, use)
  end
  if gate.kind ~= 'window' then
    return 0
  end
  local last_at, last_took, came = read_came(ARGV[4])
  keep(gate, add_up(gate, last_at, last_took))
  close_book()
  came[#came + 1] = ARGV[4] .. ' ' .. ARGV[#ARGV - 1] .. ' ' .. ARGV[#ARGV]
  call('HSET', gate_key(name), 'came', table.concat(came, ';', math.max(1, #came - MOVES_MAX + 1)))
  return 1
end

if verb == 'read' then
  return read()
end
return take()
