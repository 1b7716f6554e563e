-- Called by: leave; any number at once. ARGV after the time: worker, then id and number of each
-- claim whose code has begun. Those and orphans stay for a rescuer to decide about; the others go
-- back unspent. Answers how many went back.

local worker = ARGV[2]
local held, begun, returned = held_key(worker), {}, 0
for at = 3, #ARGV, 2 do
  begun[ARGV[at] .. ARGV[at + 1]] = true
end

relieve()
for _, claim in ipairs(call('SMEMBERS', held)) do
  local id, number = string.sub(claim, 1, 32), string.sub(claim, 33)
  local found = redis.pcall('HMGET', job_key(id), 'state', 'number', 'worker', 'reason')
  if found[1] ~= 'running' or found[2] ~= number or found[3] ~= worker then
    call('SREM', held, claim)
  elseif begun[claim] then
    call('HSET', job_key(id), 'reason', 'lost', 'begun', number)
  elseif found[4] ~= 'lost' then
    call('SREM', held, claim)
    give_back(id, tonumber(number))
    let_go_unspent(id)
    returned = returned + 1
  end
end
call('DEL', worker_key(worker))
if call('EXISTS', held) == 0 then
  call('ZREM', WORKERS, worker)
end
close_book()
write_counts()
if returned > 0 then
  ring(EARS_WORK)
end
return returned
