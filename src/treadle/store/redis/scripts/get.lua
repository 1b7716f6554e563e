-- Called by: get and get_now; only reads. ARGV after the time: ids. Answers: the time, then each
-- job's fields and values, or nothing where there is no such job.

local found = {}
for at = 2, #ARGV do
  local row = redis.pcall('HGETALL', job_key(ARGV[at]))
  found[at - 1] = not row.err and row[1] and row or false
end
return {NOW, found}
