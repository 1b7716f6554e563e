-- Called by: schedules and schedules_page; any number at once, only reads. ARGV after the time:
-- `names` and names, or `page`, the name after which to begin, and how many. Answers name,
-- revision, due and body of each; nothing in the place of a name that has no schedule.

local names = {}
if ARGV[2] == 'page' then
  names = call('ZRANGEBYLEX', SCHEDULES, '(' .. ARGV[3], '+', 'LIMIT', 0, ARGV[4])
else
  for at = 3, #ARGV do
    names[#names + 1] = ARGV[at]
  end
end
local rows = {}
for at, name in ipairs(names) do
  local row = redis.pcall('HMGET', schedule_key(name), 'revision', 'due', 'body')
  rows[at] = {name, not row.err and row[1], not row.err and row[2], not row.err and row[3]}
end
return rows
