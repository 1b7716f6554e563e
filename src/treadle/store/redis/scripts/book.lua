-- Stands before the scripts that touch gates, after `common`. Called by: every verb that makes a
-- job with gates ready, claims it or lets it go. The gates that a script touches are read once and
-- written once, by book().write(); what they mean is told in core/gates/gate.py. It is opened only
-- where a job has gates, so that others pay nothing for it.

local PARKED_MAX, LOOKS_MAX, FOREVER, DOUBLINGS_MAX = 500, 500, EXACT, 4
local TASK = 'task:'
local opened

local function open_book()
  local B, gates, order, checked, decoded, lines = {}, {}, {}, {}, {}, {}
  local ALL, WOKEN_FOR = 1000000, 1000000

  -- Here stand the parts, from book/, in the order that scripts/__init__.py gives them.
  include 'book'

  return B
end

local function book()
  opened = opened or open_book()
  return opened
end

-- Let go of what a claim that went back unspent held of gates.
local function let_go_unspent(id)
  local gates = call('HGET', job_key(id), 'gates')
  if gates then
    book().free(book().uses(gates), {id})
    book().park_ready(id)
  end
end

-- Give the gates of paused tasks, by task; nothing where there are none, as mostly.
local function paused_tasks()
  local names = redis.pcall('ZRANGEBYLEX', GATES, '[' .. TASK, '(task;')
  if opened or (not names.err and names[1]) then
    local found = book().paused_tasks(names.err and {} or names)
    return next(found) and found or nil
  end
end

local function close_book()
  if opened then
    opened.write()
  end
end
