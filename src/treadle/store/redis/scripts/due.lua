-- Called by: due_schedules; any number at once, only reads. ARGV after the time: how many. Answers:
-- the time, the schedules that are due (name, revision, due, body), when the next one is, how many
-- workers there are, and the first of them.

local rows = {}
local found = call('ZRANGEBYSCORE', SCHEDULES_DUE, '-inf', NOW, 'LIMIT', 0, ARGV[2])
for _, name in ipairs(found) do
  local row = redis.pcall('HMGET', schedule_key(name), 'revision', 'due', 'body')
  if not row.err then
    rows[#rows + 1] = {name, row[1], row[2], row[3]}
  end
end
local following = call('ZRANGEBYSCORE', SCHEDULES_DUE, '(' .. NOW, '+inf', 'WITHSCORES', 'LIMIT',
  0, 1)
local crew, first = call('ZRANGE', WORKERS, 0, -1), ''
for _, id in ipairs(crew) do
  if first == '' or id < first then
    first = id
  end
end
return {NOW, rows, following[2] or '', #crew, first}
