-- Called by: dead_groups; only reads. ARGV after the time: the id before which to begin or
-- nothing, how many to look at. Answers: the last id looked at or nothing when there are no more,
-- then of each dead letter: task, reason, its error's type, when it ended.

local from = ARGV[2] == '' and '+' or '(' .. ARGV[2]
local ids = call('ZREVRANGEBYLEX', DEAD, from, '-', 'LIMIT', 0, tonumber(ARGV[3]))
local found = {}

local function kind(failure)
  local read, value = pcall(cjson.decode, failure or '')
  return read and type(value) == 'table' and type(value.type) == 'string' and value.type or ''
end

for _, id in ipairs(ids) do
  local row = redis.pcall('HMGET', job_key(id), 'task', 'reason', 'error', 'finished_at', 'state')
  if row[5] == 'failed' then
    found[#found + 1] = {row[1] or '', row[2] or '', kind(row[3]), row[4] or '0'}
  end
end
return {#ids == tonumber(ARGV[3]) and ids[#ids] or false, found}
