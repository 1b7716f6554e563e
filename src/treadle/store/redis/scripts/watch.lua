-- Called by: rescue and workers; any number at once, only reads. Answers: the time, then of each
-- worker that is registered or holds jobs: id, record, start, lease, last beat, how many it holds.

local found = {}
for _, id in ipairs(call('ZRANGE', WORKERS, 0, -1)) do
  local row = redis.pcall('HMGET', worker_key(id), 'info', 'started_at', 'lease', 'beat_at')
  if row.err then
    row = {false, false, false, false}
  end
  found[#found + 1] = {id, row[1], row[2], row[3], row[4], call('SCARD', held_key(id))}
end
return {NOW, found}
