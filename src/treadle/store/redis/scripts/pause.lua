-- Called by: pause and resume; any number at once. ARGV after the time: queue, and 1 to pause.
-- Answers 1 when this call did it.

local was = call('HGET', QUEUES, ARGV[2])
local pausing = ARGV[3] == '1'
if ((was or '') ~= '') == pausing then
  return 0
end
relieve()
call('HSET', QUEUES, ARGV[2], pausing and NOW or '')
if not pausing then
  ring(EARS_WORK)
end
return 1
