-- Who asks for a gate outside jobs, and who holds it so: the line of those that wait, first come
-- first, their turns beside jobs, and leases that have ended.

-- Read the line of who asks outside jobs, first come first; who asks no more is taken out.
local function read_line(name)
  if not lines[name] then
    local line, flat = {}, call('HGETALL', clean(asks_key(name), 'hash'))
    for i = 1, #flat, 2 do
      local since, till, cost, is_next = string.match(flat[i + 1], '^(%d+) (%d+) (%d+) ([01])$')
      if till and tonumber(till) > now then
        line[#line + 1] = {token = flat[i], since = tonumber(since), till = tonumber(till),
          cost = tonumber(cost), is_next = is_next == '1'}
      else
        call('HDEL', asks_key(name), flat[i])
      end
    end
    table.sort(line, function(a, b)
      return a.since < b.since or (a.since == b.since and a.token < b.token)
    end)
    lines[name] = line
  end
  return lines[name]
end

function B.first_asking(name)
  local line = read_line(name)
  return line[1], #line
end

function B.asks(name, token)
  for _, one in ipairs(read_line(name)) do
    if one.token == token then
      return one
    end
  end
end

-- Count who stand before somebody in the line, or all where he is not in it.
function B.ahead(name, token)
  local line = read_line(name)
  for place, one in ipairs(line) do
    if one.token == token then
      return place - 1
    end
  end
  return #line
end

-- Put somebody into the line, or let him wait on.
function B.wait(name, token, since, till, cost, is_next)
  call('HSET', asks_key(name), token, text(since) .. ' ' .. text(till) .. ' ' .. text(cost)
    .. (is_next and ' 1' or ' 0'))
  lines[name] = nil
end

-- Take somebody out of the line; give 1 where he was in it.
function B.leave(name, token)
  lines[name] = nil
  return call('HDEL', clean(asks_key(name), 'hash'), token)
end

-- Tell how much of the room is for who asks outside jobs, because it is his turn.
function B.reserved(gate)
  local first = read_line(gate.name)[1]
  return first and first.is_next and takes(gate, first.cost) or 0
end

-- Give the next turn to who waits longest outside jobs: jobs have had theirs.
local function turn(gate)
  local first = read_line(gate.name)[1]
  if first and not first.is_next then
    B.wait(gate.name, first.token, first.since, first.till, first.cost, true)
  end
end

-- Take away holds whose lease has ended.
function B.lapse(gate)
  local key = clean(holds_key(gate.name), 'zset')
  for _, token in ipairs(call('ZRANGEBYSCORE', key, '-inf', NOW, 'LIMIT', 0, LOOKS_MAX)) do
    call('ZREM', key, token)
    gate.used, gate.wake_at, gate.changed = math.max(0, gate.used - 1), now, true
  end
end
