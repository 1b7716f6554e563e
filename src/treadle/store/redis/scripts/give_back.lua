-- Called by: beat, for claims whose answer was lost. ARGV after the time: worker, then id and
-- number of each. An orphan whose code had begun (reason 'lost') is never given back as unspent:
-- it stays with its holder until a rescuer has decided about it. Answers how many went back.

local held, returned = held_key(ARGV[2]), 0

relieve()
for at = 3, #ARGV, 2 do
  local id, number = ARGV[at], ARGV[at + 1]
  local found = redis.pcall('HMGET', job_key(id), 'state', 'number', 'worker', 'reason')
  if found[1] == 'running' and found[2] == number and found[3] == ARGV[2] then
    if found[4] ~= 'lost' then
      call('SREM', held, id .. number)
      give_back(id, tonumber(number))
      let_go_unspent(id)
      returned = returned + 1
    end
  else
    call('SREM', held, id .. number)
  end
end
close_book()
write_counts()
if returned > 0 then
  ring(EARS_WORK)
end
return returned
