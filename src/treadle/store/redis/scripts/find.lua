-- Called by: find; only reads. ARGV after the time: the id before which to begin or nothing, how
-- many jobs to look at, how many to give, then state, queue, task and reason, each nothing for
-- any. Rides the list of all jobs, or of the dead letters, from the newest id down: one page a
-- call. Answers: the time, the last id looked at or nothing when there are no more, and the jobs
-- that fit.

local before, looks, limit = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local wanted = {ARGV[5], ARGV[6], ARGV[7], ARGV[8]}
local found, last = {}, false

-- Give the next ids of the running jobs, which are few, by what the workers hold.
local function running()
  local ids, page = {}, {}
  for _, worker in ipairs(call('ZRANGE', WORKERS, 0, -1)) do
    for _, claim in ipairs(call('SMEMBERS', held_key(worker))) do
      local id = string.sub(claim, 1, 32)
      if before == '' or id < before then
        ids[#ids + 1] = id
      end
    end
  end
  table.sort(ids, function(a, b) return a > b end)
  for i = 1, math.min(looks, #ids) do
    page[i] = ids[i]
  end
  return page
end

local function listed()
  local list = wanted[1] == 'failed' and DEAD or JOBS
  local from = before == '' and '+' or '(' .. before
  return call('ZREVRANGEBYLEX', list, from, '-', 'LIMIT', 0, looks)
end

local ids = wanted[1] == 'running' and running() or listed()

local function fits(row)
  for place = 1, 4 do
    if wanted[place] ~= '' and row[place] ~= wanted[place] then
      return false
    end
  end
  -- What upkeep notes of one that runs is its own: no reason is shown of it.
  return wanted[4] == '' or row[1] ~= 'running'
end

for _, id in ipairs(ids) do
  if #found == limit then
    break
  end
  last = id
  local row = redis.pcall('HMGET', job_key(id), 'state', 'queue', 'task', 'reason')
  if not row.err and row[1] and fits(row) then
    found[#found + 1] = {id, call('HGETALL', job_key(id))}
  end
end
if #found < limit and #ids < looks then
  last = false
end
return {NOW, last, found}
