-- Called by: open and migrate; any number at once. ARGV after the time: this library's version,
-- and 1 to write it where there is none. There are no tables to make: the version is all there is.
-- Answers: the version found, or nothing.

local wrong = misused({[K] = 'hash'})
if wrong then
  return wrong
end
local found = call('HGET', K, 'version')
if not found and ARGV[3] == '1' then
  relieve()
  call('HSET', K, 'version', ARGV[2])
end
return found
