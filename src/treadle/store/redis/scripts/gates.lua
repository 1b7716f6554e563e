-- Called by: gates; only reads. ARGV after the time: the one gate wanted or nothing, the name after
-- which to begin, how many. Answers of each: name, kind, quota, period, burst, places in use, room,
-- jobs that wait, until when it is shut, why, whether its numbers were set, when it opens, how
-- often it has opened in a row, places held outside jobs, who waits outside jobs.

local names = {ARGV[2]}
if ARGV[2] == '' then
  local from = ARGV[3] == '' and '-' or '(' .. ARGV[3]
  names = redis.pcall('ZRANGEBYLEX', GATES, from, '+', 'LIMIT', 0, tonumber(ARGV[4]))
  names = names.err and {} or names
end

-- Count who waits outside jobs; only reads.
local function asking(name)
  local flat, many = redis.pcall('HVALS', asks_key(name)), 0
  for _, one in ipairs(flat.err and {} or flat) do
    local till = string.match(one, '^%d+ (%d+) ')
    if till and tonumber(till) > now then
      many = many + 1
    end
  end
  return many
end

local found = {}
for _, name in ipairs(names) do
  local gate = call('TYPE', gate_key(name)).ok == 'hash' and book().find(name)
  if gate then
    local waits = redis.pcall('ZCARD', waiting_key(name))
    local shut, opens = book().is_shut(gate), book().opens_at(gate, book().best_cost(name))
    found[#found + 1] = {name, gate.kind, gate.quota, gate.period, gate.burst, gate.used,
      book().room(gate), type(waits) == 'number' and waits or 0,
      shut and text(gate.shut_until) or '', shut and gate.note or '', gate.is_set and 1 or 0,
      opens and text(opens) or '', gate.tripped, redis.pcall('ZCARD', holds_key(name)),
      asking(name)}
  end
end
return found
