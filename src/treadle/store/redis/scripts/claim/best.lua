-- Which jobs are tried: the best of one queue, or of all queues together.

-- Take the best jobs of one queue.
local function take(queue, room)
  local popped = ask('ZPOPMIN', ready_key(queue), room)
  if popped.err then
    return
  end
  for i = 1, #popped, 2 do
    claim(popped[i], queue, tonumber(popped[i + 1]))
  end
end

-- Take again while jobs are parked at gates: what is behind them may pass.
local function take_past(room, take_some)
  local target = #claims + room
  repeat
    local met = parked
    take_some(target - #claims)
  until parked == met or parked >= PARKED_MAX or #claims >= target
end

local function before(a, b)
  if a.score ~= b.score then
    return a.score < b.score
  end
  return a.id < b.id
end

-- Sink the head at a place of the heap until none below it comes before it.
local function sink(heap, place)
  while true do
    local least, left = place, 2 * place
    if heap[left] and before(heap[left], heap[least]) then
      least = left
    end
    if heap[left + 1] and before(heap[left + 1], heap[least]) then
      least = left + 1
    end
    if least == place then
      return
    end
    heap[place], heap[least] = heap[least], heap[place]
    place = least
  end
end

-- Let a head show its queue's next job; false when the queue is empty.
local function advance(head, chunk)
  if head.next > #head.jobs then
    head.jobs = ask('ZRANGE', ready_key(head.queue), head.from, head.from + chunk - 1,
      'WITHSCORES')
    head.from, head.next = head.from + chunk, 1
    if head.jobs.err or #head.jobs == 0 then
      return false
    end
  end
  head.id, head.score = head.jobs[head.next], tonumber(head.jobs[head.next + 1])
  head.next = head.next + 2
  return true
end

-- Take the best jobs of these queues together.
local function merge(queues, room)
  local heap, chunk, taken = {}, math.max(8, math.ceil(2 * room / #queues)), {}
  for _, queue in ipairs(queues) do
    local head = {queue = queue, from = 0, next = 1, jobs = {}}
    if advance(head, chunk) then
      heap[#heap + 1] = head
    end
  end
  for place = math.floor(#heap / 2), 1, -1 do
    sink(heap, place)
  end
  while room > 0 and heap[1] do
    local head = heap[1]
    taken[#taken + 1] = head
    taken[#taken + 1] = head.id
    taken[#taken + 1] = head.score
    if not advance(head, chunk) then
      heap[1] = heap[#heap]
      heap[#heap] = nil
    end
    if heap[1] then
      sink(heap, 1)
    end
    room = room - 1
  end
  for i = 1, #taken, 3 do
    call('ZREM', ready_key(taken[i].queue), taken[i + 1])
    claim(taken[i + 1], taken[i].queue, taken[i + 2])
  end
end

local function open_queues()
  local all, open = call('HGETALL', QUEUES), {}
  for i = 1, #all, 2 do
    if all[i + 1] == '' then
      open[#open + 1] = all[i]
    end
  end
  return open
end
