-- Called by: keys; only reads. ARGV after the time: names. Answers for each: its holder, until what
-- it is held, the instant for one with a time, who waits behind; nothing where nobody holds it.

local found = {}
for at = 2, #ARGV do
  local held = key_book().read(ARGV[at])
  found[at - 1] = held and {held.job, held.until_, held.until_at or false, held.next or false}
    or false
end
return found
