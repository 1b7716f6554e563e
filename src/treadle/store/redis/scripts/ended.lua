-- Called by: ended; only reads. ARGV after the time: ids. Answers 1 for each job that has ended or
-- is not there, else 0.

local answer = {}
for at = 2, #ARGV do
  local state = redis.pcall('HGET', job_key(ARGV[at]), 'state')
  answer[at - 1] = (type(state) ~= 'string' or ENDS[state]) and '1' or '0'
end
return table.concat(answer)
