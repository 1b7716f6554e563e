-- Stands before the scripts that touch gates, after `common`. Called by: every verb that makes a
-- job with gates ready, claims it or lets it go. The gates that a script touches are read once and
-- written once, by book().write(); what they mean is told in core/gates/gate.py. It is opened only
-- where a job has gates, so that others pay nothing for it. A key of another type than its own is
-- no gate and no list of one: it is cleared away, because a script must not fail half way.

local PARKED_MAX, LOOKS_MAX, FOREVER, DOUBLINGS_MAX = 500, 500, EXACT, 4
local TASK = 'task:'
local opened

local function open_book()
  local B, gates, order, checked, decoded, lines = {}, {}, {}, {}, {}, {}
  local ALL, WOKEN_FOR = 1000000, 1000000

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

  local function list(id, at, queue, priority)
    local key, tenant = clean(waiting_key(at), 'zset'), tenant_of(id)
    local score = text(band(priority))
    if tenant then
      score = take_turn(key, 'w' .. at, id, tenant, priority)
    end
    call('ZADD', key, score, id)
    call('ZADD', clean(behind_key(queue), 'zset'), score, id)
  end

  B.ended = {}

  local function end_full(id, reason)
    local row = call('HMGET', job_key(id), 'state', 'queue', 'task', 'created_at', 'key')
    end_waiting(id, {state = row[1], queue = row[2], task = row[3], created_at = row[4],
      key = row[5]}, 'cancelled', reason)
    B.ended[id] = true
  end

  local function is_first_wait(id, at)
    local row = redis.pcall('HMGET', job_key(id), 'state', 'waits_at', 'number')
    return not row.err and row[1] == 'blocked' and row[2] == at and (whole(row[3] or 0) or 1) == 0
  end

  local function id_text(id)
    return string.sub(id, 1, 8) .. '-' .. string.sub(id, 9, 12) .. '-' .. string.sub(id, 13, 16)
      .. '-' .. string.sub(id, 17, 20) .. '-' .. string.sub(id, 21)
  end

  -- Do what a job that was parked just now says of a gate without a free place.
  local function when_full(id, use)
    if (use.on_full or '') == '' or not is_first_wait(id, use.name) then
      return
    elseif use.on_full == 'skip' then
      if not B.is_shut(B.of(use)) then
        end_full(id, 'no free place')
      end
    elseif use.on_full == 'replace' then
      local key = clean(newest_key(use.name), 'string')
      local other = call('GET', key)
      local newest = id
      if other and other ~= id and is_first_wait(other, use.name) then
        newest = other > id and other or id
        end_full(newest == id and other or id, 'replaced by ' .. id_text(newest))
      end
      call('SET', key, newest)
    end
  end

  -- Park a ready job at a gate that does not let it pass; the others pass its place on.
  function B.park(id, at, uses, queue, priority)
    take_passed()
    call('ZREM', ready_key(queue), id)
    leave_turn('r' .. queue, id, tenant_of(id))
    list(id, at, queue, priority)
    call('HSET', job_key(id), 'state', 'blocked', 'reason', 'gate', 'waits_at', at)
    count(queue, 'ready', 'blocked')
    for _, use in ipairs(uses) do
      local gate = B.of(use)
      gate.woken, gate.changed = math.max(0, gate.woken - takes(gate, use.cost)), true
      if use.name == at then
        B.look(gate, use.cost)
        when_full(id, use)
      elseif gate.wake_at then
        gate.wake_at = math.min(gate.wake_at, now)
      end
    end
  end

  -- Park a job that has become ready, if one of its gates is known to be shut.
  function B.park_ready(id)
    local row = redis.pcall('HMGET', job_key(id), 'gates', 'queue', 'priority', 'state')
    if row.err or not row[1] or row[4] ~= 'ready' then
      return
    end
    local uses = B.uses(row[1])
    local at = B.known_shut(uses)
    if at then
      B.park(id, at, uses, row[2] or '', row[3])
    end
  end

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

  return B
end

local function book()
  opened = opened or open_book()
  return opened
end

-- Give the gates of paused tasks, by task; nothing where there are none, as mostly.
local function paused_tasks()
  local names = redis.pcall('ZRANGEBYLEX', GATES, '[' .. TASK, '(task;')
  if opened or (not names.err and names[1]) then
    local found = book().paused_tasks(names.err and {} or names)
    return next(found) and found or nil
  end
end

local function close_book()
  if opened then
    opened.write()
  end
end
