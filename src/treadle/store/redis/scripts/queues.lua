-- Called by: queues and ready; only reads. ARGV after the time: nothing for all with what is in
-- them, else 1 to learn only whether any is ready, then the queues to look at, none for all. The
-- oldest job is looked for among the first hundred of each priority, and after a thousand jobs
-- among ten: ids rise with time, and so do they, but for tenants' and for those put back.

local function paused(queue)
  return (call('HGET', QUEUES, queue) or '') ~= ''
end

local function any_ready()
  local names = {unpack(ARGV, 3)}
  if #names == 0 then
    names = call('HKEYS', QUEUES)
  end
  for _, queue in ipairs(names) do
    if call('EXISTS', ready_key(queue)) == 1 and not paused(queue) then
      return 1
    end
  end
  return 0
end

local function oldest(queue)
  local from, least, left = '-inf', nil, 1000
  for _ = 1, 201 do
    local head = call('ZRANGEBYSCORE', ready_key(queue), from, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if not head[1] then
      break
    end
    local next_band = (math.floor(tonumber(head[2]) / TURN) + 1) * TURN
    local ids = call('ZRANGEBYSCORE', ready_key(queue), head[2], '(' .. text(next_band), 'LIMIT', 0,
      math.max(10, math.min(100, left)))
    left = left - #ids
    for _, id in ipairs(ids) do
      local times = redis.pcall('HMGET', job_key(id), 'run_at', 'created_at')
      local run_at = whole(times[1] or times[2])
      if run_at and (not least or run_at < least) then
        least = run_at
      end
    end
    from = text(next_band)
  end
  return least and text(least) or false
end

if ARGV[2] == '1' then
  return any_ready()
end
local all, found = call('HGETALL', QUEUES), {}
for at = 1, #all, 2 do
  found[#found + 1] = {all[at], all[at + 1], oldest(all[at])}
end
return {found, call('HGETALL', COUNTS)}
