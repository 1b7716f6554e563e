-- Called by: note; any number at once. ARGV after the time: for each note id, number, 1 when there
-- is progress, the progress, how many log lines, then instant, level and text of each. Fenced like
-- a settlement. A list of log lines keeps its last 1,000.

local at = 2
while at <= #ARGV do
  local id, number, lines = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 4])
  local found = redis.pcall('HMGET', job_key(id), 'state', 'number', 'attempt')
  if found[1] == 'running' and found[2] == number then
    if ARGV[at + 2] == '1' then
      call('HSET', job_key(id), 'progress', ARGV[at + 3])
    end
    for line = 0, lines - 1 do
      local from = at + 5 + 3 * line
      redis.pcall('RPUSH', logs_key(id), found[3], ARGV[from], ARGV[from + 1], ARGV[from + 2])
    end
    if lines > 0 then
      redis.pcall('LTRIM', logs_key(id), -4000, -1)
    end
  end
  at = at + 5 + 3 * lines
end
return 1
