-- Called by: tenants; only reads. ARGV after the time: a name or nothing for all, the name behind
-- which a page begins, its size. Answers name and stride of each tenant whose weight was set.

local only, found = ARGV[2], {}
local names = {only}
if only == '' then
  names = call('ZRANGEBYLEX', TENANTS, '(' .. ARGV[3], '+', 'LIMIT', 0, ARGV[4])
end
for _, name in ipairs(names) do
  local stride = whole(call('HGET', STRIDES, name) or '')
  if stride then
    found[#found + 1] = {name, stride}
  end
end
return found
