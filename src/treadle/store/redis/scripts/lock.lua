-- Called by: lock_take, lock_renew, lock_free; any number at once. ARGV after the time: what to do,
-- the lock, the token, the lease. The number of a hold is counted for all locks together, so that
-- it rises also over the end of a lock's record, which is kept for no longer than its lease.
-- Answers: the number or 1, or 0 where it was not done; then for how long somebody else holds it.

local what, key, token, lease = ARGV[2], lock_key(ARGV[3]), ARGV[4], tonumber(ARGV[5])
local wrong = misused({[key] = 'hash', [FENCE] = 'string'})
if wrong then
  return wrong
end
local row = call('HMGET', key, 'token', 'fence', 'until_at')
local left = (tonumber(row[3]) or 0) - now
local mine = row[1] == token and left > 0

local function hold(fence, for_)
  call('HSET', key, 'token', token, 'fence', fence, 'until_at', text(now + for_))
  expire(key, for_)
end

if what == 'take' and row[1] and left > 0 and not mine then
  return {0, left}
elseif what == 'take' then
  local fence = mine and tonumber(row[2]) or call('INCR', FENCE)
  hold(fence, lease)
  return {fence, 0}
elseif not mine then
  return {0, 0}
elseif what == 'renew' then
  hold(row[2], math.max(lease, left))
else
  call('DEL', key)
end
return {1, 0}
