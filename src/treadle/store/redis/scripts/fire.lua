-- Called by: fire; any number at once. Each move is conditional on the revision, so one of those
-- who come with the same one is heard. ARGV after the time: of each move its name, revision (0: it
-- must not be there), due, whether it has a body, that body; 1, due and body for when each of its
-- jobs meets the holder of its key; how many jobs there are, how many words they take, and those
-- words as `enqueue` takes them behind its request. `store_jobs` is the script of that name: it
-- checks, then makes the first write. Answers 1 for each move that this call did, else 0.

-- How many words the head of alike jobs takes, and a job with a key: those of `enqueue`.
local HEAD, KEYED = 11, 8
local moves, words, kinds, taken = {}, {ARGV[1], ''}, {}, {}
local head

-- Hand the jobs of a move on; those of moves that are alike share one head and are stored together.
local function hand_on(from, behind)
  while from < behind do
    local many = tonumber(ARGV[from + HEAD - 1])
    local alike = head ~= nil
    for part = 0, HEAD - 2 do
      alike = alike and words[head + part] == ARGV[from + part]
    end
    if not alike then
      head = #words + 1
      for part = 0, HEAD - 2 do
        words[head + part] = ARGV[from + part]
      end
      words[head + HEAD - 1] = 0
    end
    words[head + HEAD - 1] = words[head + HEAD - 1] + many
    local next_from = from + HEAD + many * (ARGV[from + 7] == '' and 2 or KEYED)
    for part = from + HEAD, next_from - 1 do
      words[#words + 1] = ARGV[part]
    end
    from = next_from
  end
end

local at = 2
while at <= #ARGV do
  local move = {name = ARGV[at], revision = ARGV[at + 1], due = ARGV[at + 2],
    kept = ARGV[at + 3] == '1', body = ARGV[at + 4], other = ARGV[at + 5] == '1',
    other_due = ARGV[at + 6], other_body = ARGV[at + 7], jobs = tonumber(ARGV[at + 8])}
  local key, many = schedule_key(move.name), tonumber(ARGV[at + 9])
  kinds[key] = 'hash'
  local found = redis.pcall('HGET', key, 'revision')
  move.holds = (type(found) == 'string' and found or '0') == move.revision
  if move.holds then
    hand_on(at + 10, at + 10 + many)
  end
  moves[#moves + 1] = move
  at = at + 10 + many
end
kinds[SCHEDULES], kinds[SCHEDULES_DUE] = 'zset', 'zset'
local wrong = misused(kinds)
if wrong then
  return wrong
end
local stored, letter = '', 0
if #words > 2 then
  stored = store_jobs(words)
  if type(stored) == 'table' and stored.err then
    return stored
  end
end
local due_at = {}
for number, move in ipairs(moves) do
  taken[number] = move.holds and '1' or '0'
  local key = schedule_key(move.name)
  if move.holds and move.jobs > 0 then
    local met = string.sub(stored, letter + 1, letter + move.jobs) == string.rep('m', move.jobs)
    letter = letter + move.jobs
    if met and move.other then
      move.due, move.body = move.other_due, move.other_body
    end
  end
  if move.holds and move.kept then
    call('HSET', key, 'revision', text(move.revision + 1), 'due', move.due, 'body', move.body)
    if move.revision == '0' then
      call('ZADD', SCHEDULES, 0, move.name)
    end
    if move.due == '' then
      call('ZREM', SCHEDULES_DUE, move.name)
    else
      due_at[#due_at + 1], due_at[#due_at + 2] = move.due, move.name
    end
  elseif move.holds then
    call('DEL', key)
    call('ZREM', SCHEDULES, move.name)
    call('ZREM', SCHEDULES_DUE, move.name)
  end
end
if #due_at > 0 then
  call('ZADD', SCHEDULES_DUE, unpack(due_at))
end
return table.concat(taken)
