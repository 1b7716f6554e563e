-- Called by: rescue, for one dead worker; two rescuers may come at once, and each job goes to one.
-- ARGV after the time: rescuer, request, dead worker, the beat it was judged by, limit. Nothing is
-- done when it has beaten since. Numbers rise, so whatever the dead worker still settles is LOST.
-- Reason 'lost' says that the code may have begun, and so does a sure mark, which rises with the
-- number: both outlive a crash of the rescuer itself. The request and what it took are kept with
-- the rescuer, so that it gets the same orphans when it asks again.
-- Answers: the orphans as claims, and 1 or 0 for each: whether it had a sure mark; nothing when the
-- rescuer is not known.

local rescuer, request, dead, limit = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[6])
local me, held, theirs = worker_key(rescuer), held_key(rescuer), held_key(dead)
local mine = call('HMGET', me, 'info', 'rescue', 'rescued')
if not mine[1] then
  return false
end

local orphans, begun = {}, {}

local function orphan(id, number)
  local row = redis.pcall('HMGET', job_key(id), unpack(CLAIM))
  if not row.err and row[1] == 'running' and row[2] == number then
    row[1] = id
    return row, call('HGET', job_key(id), 'begun') == number
  end
end

local function give(row, marked)
  orphans[#orphans + 1] = row
  begun[#begun + 1] = marked and '1' or '0'
end

if mine[2] == request then
  for _, claim in ipairs(cmsgpack.unpack(mine[3])) do
    local row, marked = orphan(string.sub(claim, 1, 32), string.sub(claim, 33))
    if row then
      give(row, marked)
    end
  end
  return {orphans, table.concat(begun)}
end
if (call('HGET', worker_key(dead), 'beat_at') or '') ~= ARGV[5] then
  return {orphans, ''}
end

local wrong = misused({[held] = 'set', [theirs] = 'set'})
if wrong then
  return wrong
end
relieve()
local taken, all = {}, true
local claims = call('SMEMBERS', theirs)
table.sort(claims)
for _, claim in ipairs(claims) do
  if #orphans == limit then
    all = false
    break
  end
  local id, number = string.sub(claim, 1, 32), string.sub(claim, 33)
  local row, marked = orphan(id, number)
  call('SREM', theirs, claim)
  if row and not (whole(row[2]) and whole(row[2]) < EXACT and whole(row[3])) then
    set_aside(id, row[5] or '', 'running', 'a number of it cannot be read')
  elseif row then
    local next_number = text(whole(row[2]) + 1)
    call('HSET', job_key(id), 'number', next_number, 'worker', rescuer, 'reason', 'lost')
    if marked then
      call('HSET', job_key(id), 'begun', next_number)
    end
    call('SADD', held, id .. next_number)
    row[2] = next_number
    give(row, marked)
    taken[#taken + 1] = id .. next_number
  end
end
if all then
  call('DEL', worker_key(dead))
  call('ZREM', WORKERS, dead)
end
if #taken > 0 then
  call('HSET', me, 'rescue', request, 'rescued', cmsgpack.pack(taken))
end
write_counts()
return {orphans, table.concat(begun)}
