-- Called by: beat, from the lease's thread, beside whatever its worker's loop does. ARGV after the
-- time: worker. Prolongs its lease by noting the time, and says what the store counts as its own.
-- Answers: the time, then each claim as id and number in one; nothing when it is not registered.

local me = worker_key(ARGV[2])
if call('HEXISTS', me, 'info') == 0 then
  return false
end
relieve()
call('HSET', me, 'beat_at', NOW)
return {NOW, call('SMEMBERS', held_key(ARGV[2]))}
