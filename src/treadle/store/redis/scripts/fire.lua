-- Called by: fire; any number at once. Each move is conditional on the revision, so one of those
-- who come with the same one is heard. ARGV after the time: of each move its name, revision (0: it
-- must not be there), due, three letters and a body. The letters: k or - for whether it has that
-- body; o or -: whether due and body follow for when each of its jobs meets the holder of its key;
-- j: how many jobs there are, how many words they take and those words follow, as `enqueue` takes
-- them behind its request; a: one job follows by its id and call, whose head is the last one that
-- was sent; - for none. `store_jobs` is the script of that name: it checks, then makes the first
-- write. Answers 1 for each move that this call did, else 0.

-- How many words the head of alike jobs takes, and a job with a key: those of `enqueue`.
local HEAD, KEYED = 11, 8
local ARGV = ARGV
local moves, words, kinds, taken = {}, {ARGV[1], ''}, {}, {}
-- Where the head of the jobs handed on last begins in `words` and in ARGV; the last head sent.
local head, from_head, sent

-- Begin to hand on jobs under a head, unless it says what the last one did: those of moves that
-- are alike are stored together.
local function under(at)
  if at ~= from_head then
    local alike = head ~= nil
    for part = 0, HEAD - 2 do
      alike = alike and words[head + part] == ARGV[at + part]
    end
    if not alike then
      head = #words + 1
      for part = 0, HEAD - 2 do
        words[head + part] = ARGV[at + part]
      end
      words[head + HEAD - 1] = 0
    end
    from_head = at
  end
end

-- Pass the words of a move's jobs, and hand them on when the move holds.
local function hand_on(from, behind, holds)
  while from < behind do
    local many = tonumber(ARGV[from + HEAD - 1])
    local next_from = from + HEAD + many * (ARGV[from + 7] == '' and 2 or KEYED)
    if holds then
      under(from)
      words[head + HEAD - 1] = words[head + HEAD - 1] + many
      for part = from + HEAD, next_from - 1 do
        words[#words + 1] = ARGV[part]
      end
    end
    sent, from = from, next_from
  end
end

local at, argc = 2, #ARGV
while at <= argc do
  local name, revision, letters = ARGV[at], ARGV[at + 1], ARGV[at + 3]
  local key, jobs = schedule_key(name), string.sub(letters, 3)
  local found = redis.pcall('HGET', key, 'revision')
  if type(found) == 'table' then
    kinds[key] = 'hash'
  end
  local move = {name = name, key = key, revision = revision, due = ARGV[at + 2],
    kept = string.sub(letters, 1, 1) == 'k', body = ARGV[at + 4], jobs = 0,
    holds = (type(found) == 'string' and found or '0') == revision}
  -- There is nothing to delete where there must be none.
  move.holds = move.holds and (move.kept or revision ~= '0')
  at = at + 5
  if string.sub(letters, 2, 2) == 'o' then
    move.other, move.other_due, move.other_body = true, ARGV[at], ARGV[at + 1]
    at = at + 2
  end
  if jobs == 'a' then
    move.jobs = 1
    if move.holds then
      under(sent)
      words[head + HEAD - 1] = words[head + HEAD - 1] + 1
      words[#words + 1] = ARGV[at]
      words[#words + 1] = ARGV[at + 1]
    end
    at = at + 2
  elseif jobs == 'j' then
    move.jobs = tonumber(ARGV[at])
    local behind = at + 2 + tonumber(ARGV[at + 1])
    hand_on(at + 2, behind, move.holds)
    at = behind
  end
  moves[#moves + 1] = move
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
  local key = move.key
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
