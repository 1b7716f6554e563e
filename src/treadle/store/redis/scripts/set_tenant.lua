-- Called by: set_tenant. ARGV after the time: the name, and the stride or nothing to forget it.

local name, stride = ARGV[2], ARGV[3]
local wrong = misused({[TENANTS] = 'zset', [STRIDES] = 'hash'})
if wrong then
  return wrong
end
if stride == '' then
  call('ZREM', TENANTS, name)
  call('HDEL', STRIDES, name)
else
  call('ZADD', TENANTS, 0, name)
  call('HSET', STRIDES, name, stride)
end
return 1
