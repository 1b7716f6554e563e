-- Jobs wait at gates. Called by: every verb that makes a job with gates ready, and by exchange
-- after a claim that has parked some. Rides the primary keys, jobs_gated and jobs_waiting. Any
-- number may run at once: jobs are locked before gates, and here only such jobs as nobody else has
-- locked.

-- name: known_shut
-- The first gate of j that lets no such job pass, or at which others wait.
case when j.gates is not null then (
    select w.name from jsonb_to_recordset(j.gates) as w (name text, cost bigint)
    join {p}gates g on g.name = w.name
    where {room} < {takes} or exists (
        select from {p}jobs o where o.state = 'blocked' and o.waits_at = w.name
    ) or exists (
        select from {p}holds o where o.gate = w.name and not o.is_held and o.until_at > {now}
    )
    order by w.name collate "C" limit 1
) end

-- name: cost_there
-- What p, one of those that were parked, costs at the gate that it waits at.
coalesce((
    select w.cost from jsonb_to_recordset(p.gates) as w (name text, cost bigint)
    where w.name = p.waits_at limit 1
), 1)

-- name: looking
-- After a CTE parked_at (name, cost): gates at which jobs now wait, of which the cheapest costs as
-- much, tell when to look for them.
to_look as (
    select g.name, {look} as at from {p}gates g join parked_at w on w.name = g.name
), looked as (
    update {p}gates g set wake_at = l.at
    from (
        select g.name, t.at from {p}gates g join to_look t on t.name = g.name
        where t.at is not null and (g.wake_at is null or g.wake_at > t.at)
        order by g.name for no key update of g
    ) as l
    where g.name = l.name
)

-- name: parking
-- After a CTE seen (id, at): parks each of these jobs at its gate, if it has one to wait at.
parked as (
    update {p}jobs j set state = 'blocked', reason = 'gate', waits_at = seen.at, tag = {new_turn}
    from seen where j.id between seen.id and seen.id and seen.at is not null
    returning j.waits_at, j.gates
), parked_at as (
    select p.waits_at as name, min({cost_there}) as cost from parked p group by 1
), {looking}
select count(*) from parked

-- name: park_ready
-- Jobs that have become ready are parked where a gate of theirs is known to be shut.
with seen as (
    select j.id, {known_shut} as at from {p}jobs j
    where j.id = any($1::uuid[]) and j.state || '' = 'ready' and j.gates is not null
), {parking};

-- name: park_back
-- As park_ready, of what a worker that leaves has given back.
with seen as (
    select j.id, {known_shut} as at from {p}jobs j
    where j.id = any(current_setting('treadle.back', true)::uuid[]) and j.state || '' = 'ready'
        and j.gates is not null
), {parking};

-- name: park_made
-- As park_ready, of a batch with keys: one that was made before parks nobody.
with seen as (
    select j.id, {known_shut} as at from {p}jobs j
    where {is_made} and j.id = any($1::uuid[]) and j.state || '' = 'ready' and j.gates is not null
), {parking};

-- name: park_more
-- After a claim that parked jobs, and after park_paused: many more of the queue may be behind
-- the same gates.
with seen as (
    select j.id, (
        select w.name from jsonb_to_recordset(j.gates) as w (name text, cost bigint)
        join {p}gates g on g.name = w.name and g.name = any($2::text[])
        where {room} < {takes} order by w.name collate "C" limit 1
    ) as at
    from {p}queues q cross join lateral (
        select id, gates from {p}jobs
        where state = 'ready' and gates is not null and queue = q.name
        limit {parked_max} for update skip locked
    ) as j
    where q.paused_at is null and ($1::text[] is null or q.name = any($1::text[]))
), {parking};

-- name: park_paused
-- As park_more, for tasks that are paused: those among the best ready jobs of each queue.
with seen as (
    select j.id, g.name as at
    from {p}queues q cross join lateral (
        select id, task from {p}jobs where state = 'ready' and queue = q.name
        order by priority desc, tag, id limit {parked_max}
    ) as h
    join {p}gates g on g.name = 'task:' || h.task and g.name = any($2::text[])
        and g.shut_until > {now}
    join {p}jobs j on j.id between h.id and h.id and j.state || '' = 'ready'
    where q.paused_at is null and ($1::text[] is null or q.name = any($1::text[]))
    for update of j skip locked
), {parking};
