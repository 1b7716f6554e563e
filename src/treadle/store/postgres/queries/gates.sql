-- Called by: every verb that makes a job with gates ready, claims it or lets it go, and by the
-- control of gates. Rides the primary keys, jobs_gated, jobs_waiting and gates_wake. Any number may
-- run at once: a transaction locks jobs first, then gates in the order of their names, and after
-- that only such jobs as nobody else has locked, so that no two wait for each other in a circle.

-- name: takes
case when g.kind in ('rate', 'window') then least(w.cost, g.burst) else 1 end

-- name: starts
-- What a window g has kept of its starts that are in it now: the instants, and what those of each
-- took together. They are pairs of one array, the oldest first.
(
    select e.at, e.took from unnest(g.failed[:][1:1], g.failed[:][2:2]) as e (at, took)
    where e.at > {now} - g.period
)

-- name: more_starts
-- The same as an array, with what starts now, `w.n`. A clock that has stepped back makes no start
-- older than the one before it.
(
    select array_agg(array[k.at, k.took] order by k.at) from (
        select e.at, sum(e.took)::bigint as took from (
            select at, took from {starts} as s
            union all
            select greatest({now}, g.failed[array_upper(g.failed, 1)][1]), w.n
        ) as e group by e.at
    ) as k
)

-- name: leaves
-- When so many of the oldest starts will have left a window g that a job that costs `w.cost` has
-- room; nothing when it has some now.
(
    select min(l.at) + g.period from (
        select s.at, sum(s.took) over (order by s.at) as so_far,
            sum(s.took) over () + least(w.cost, g.burst) - g.quota as over
        from {starts} as s
    ) as l
    where l.over > 0 and l.so_far >= l.over
)

-- name: room
case
    when g.shut_until > {now} then 0
    when g.kind = 'places' then greatest(0, g.quota - g.used)
    when g.kind = 'rate' then greatest(0, (g.burst * g.period - case
        when g.full_at >= {now} then (g.full_at - {now}) * g.quota + g.part else 0 end) / g.period)
    when g.kind = 'window' then greatest(0, g.quota - (
        select coalesce(sum(s.took), 0)::bigint from {starts} as s
    ))
    when g.kind = 'breaker' and g.tripped > 0 then case when g.probe is null then 1 else 0 end
    else 1000000
end

-- name: boundless
-- Whether all may pass while it is not shut.
(g.kind = 'switch' or (g.kind = 'breaker' and g.tripped = 0))

-- name: owed
-- What the bucket g lacks of being full at its instant, or now, when `t.n` more have started.
(case when g.full_at < {now} then 0 else g.part end + t.n * g.period)

-- name: full_after
case when g.full_at < {now} then {now} else g.full_at end + {owed} / greatest(1, g.quota)

-- name: part_after
{owed} % greatest(1, g.quota)

-- name: opens
-- When a job that costs `w.cost` may pass; nothing when no clock can tell.
case
    when g.shut_until > {now} and g.shut_until >= 9007199254740991 then null
    when g.kind = 'places' and g.used >= g.quota then null
    when g.probe is not null then null
    else greatest({now}, g.shut_until, case when g.kind = 'rate' then g.full_at + 1 - (
        (g.burst - least(w.cost, g.burst)) * g.period - g.part + g.quota) / g.quota
        when g.kind = 'window' then {leaves} end)
end

-- name: look
-- When to look for jobs to wake while one that costs `w.cost` waits.
(select case
    when o.at > {now} or o.at is null then o.at
    when {boundless} then {now}
    else {now} + 1000000
end from (select {opens} as at) as o)

-- name: hour
({now} - {now} % 3600000000)

-- name: gates_text
convert_to(gates::text, 'UTF8')

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

-- name: letting_go
-- After a CTE held (id, gates): what running jobs hold of places is free, and probes of breakers
-- make room for the next one. What a gate bounds now counts, and not what it bounded when the job
-- was enqueued.
freed as (
    select w.name, count(*) as n, array_agg(held.id) as ids
    from held cross join lateral jsonb_to_recordset(held.gates) as w (name text)
    group by w.name
), let_go as (
    update {p}gates g set used = greatest(0, g.used - l.n), touched_at = {hour}, probe = null,
        wake_at = case when g.probe is not null or g.used >= g.quota or g.wake_at is not null
            then {now} end
    from (
        select g.name, f.n from {p}gates g join freed f on f.name = g.name
        where g.kind = 'places' or g.probe = any(f.ids)
        order by g.name for no key update of g
    ) as l
    where g.name = l.name
    returning g.name
)

-- name: running_at
-- The places in use of g once it bounds what `excluded` says: a new kind counts what runs already.
case when g.kind = excluded.kind then g.used when excluded.kind <> 'places' then 0 else (
    select count(*) from {p}jobs j cross join lateral jsonb_to_recordset(j.gates) as w (name text)
    where j.state = 'running' and j.gates is not null and w.name = g.name
) + (
    select count(*) from {p}holds h where h.gate = g.name and h.is_held and h.kind = 'places'
) end

-- name: bounding
-- What has started in a window counts on, and is forgotten where the kind is another.
kind = excluded.kind, quota = excluded.quota, period = excluded.period, burst = excluded.burst,
used = {running_at}, part = 0, wake_at = {now},
failed = case when g.kind = excluded.kind then g.failed else '{}' end,
full_at = case
    when g.kind = 'window' and excluded.kind = 'window' and g.failed <> '{}'
        then g.failed[array_upper(g.failed, 1)][1] + excluded.period
    else least(
        g.full_at, {now} + excluded.burst * excluded.period / greatest(1, excluded.quota)
    )
end

-- name: defining
{bounding}, defined_at = excluded.defined_at

-- name: define_gates
with given as (
    select distinct on (name collate "C") * from unnest(
        $1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[]
    ) as d (name, kind, quota, period, burst)
    order by name collate "C"
), news as (
    select d.* from given d left join {p}gates g on g.name = d.name
    where g.name is null or (not g.is_set and g.defined_at < {now} and
        (g.kind, g.quota, g.period, g.burst) is distinct from (d.kind, d.quota, d.period, d.burst))
)
insert into {p}gates as g (name, kind, quota, period, burst, defined_at, touched_at)
select name, kind, quota, period, burst, {now}, {hour} from news order by name collate "C"
on conflict (name) do update set {defining}
where not g.is_set and g.defined_at < excluded.defined_at;

-- name: enqueue_gated
with made as (
    insert into {p}requests (id, made_at) values ($1::uuid, {now})
    on conflict (id) do nothing returning made_at
), given as (
    select *, coalesce(at, {now} + delay) as starts_at
    from unnest(
        $2::uuid[], $3::text[], $4::bytea[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[],
        $9::bigint[], $10::bigint[], $11::bigint[], $12::bytea[], $13::bytea[], $14::bytea[],
        $15::text[], $16::bigint[], $17::text[]
    ) as raw (
        id, task, args, queue, priority, at, delay, expires_at, expires_in, attempts_max, policy,
        tags, meta, tenant, cost, gates_text
    )
    where exists (select from made)
), placed as materialized (
    -- Else the look at the gates would be carried out for each column that asks for it.
    select j.*, case when j.starts_at <= {now} then {known_shut} end as waits_at
    from (select *, gates_text::jsonb as gates from given) as j
), stored as (
    insert into {p}jobs (
        id, task, args, queue, priority, state, created_at, run_at, expires_at, attempts_max,
        policy, tags, meta, tenant, cost, gates, waits_at, reason, tag
    )
    select id, task, args, queue, priority,
        case when starts_at > {now} then 'scheduled' when waits_at is null then 'ready'
            else 'blocked' end,
        {now}, starts_at, coalesce({now} + expires_in, expires_at), attempts_max, policy, tags,
        meta, tenant, cost, gates, waits_at, case when waits_at is not null then 'gate' end,
        {new_turn}
    from placed j
    on conflict (id) do nothing
    returning id, state, waits_at, gates
), parked_at as (
    select p.waits_at as name, min({cost_there}) as cost
    from stored p where p.waits_at is not null group by 1
), {looking}
select made_at, s.id, s.state from made left join stored s on s.state = 'blocked';

-- name: enqueue_inside_gated
-- As enqueue_inside, for jobs with gates. None is parked here: the lock of a gate must not be held
-- for as long as a caller likes.
with made as (
    select $17::bigint as made_at
    where exists (select from {p}meta where key = 'identity' and value = $1::text)
), stored as (
    insert into {p}jobs (
        id, task, args, queue, priority, state, created_at, run_at, expires_at, attempts_max,
        policy, tags, meta, tenant, cost, gates, tag
    )
    select id, task, args, queue, priority,
        case when coalesce(at, {now} + delay) > {now} then 'scheduled' else 'ready' end,
        {now}, coalesce(at, {now} + delay), coalesce({now} + expires_in, expires_at),
        attempts_max, policy, tags, meta, tenant, cost, gates_text::jsonb, {new_turn}
    from unnest(
        $2::uuid[], $3::text[], $4::bytea[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[],
        $9::bigint[], $10::bigint[], $11::bigint[], $12::bytea[], $13::bytea[], $14::bytea[],
        $15::text[], $16::bigint[], $18::text[]
    ) as j (
        id, task, args, queue, priority, at, delay, expires_at, expires_in, attempts_max, policy,
        tags, meta, tenant, cost, gates_text
    )
    where exists (select from made)
)
select made_at from made;

-- name: give_gates
-- After a batch with keys, for those of its jobs that have none and were stored just now.
update {p}jobs j set gates = g.gates_text::jsonb
from unnest($1::uuid[], $2::text[]) as g (id, gates_text)
where {is_made} and j.id between g.id and g.id
    and j.gates is null and j.key is null and j.number = 0
    and j.state || '' in ('ready', 'scheduled');

-- name: peek
-- Asked beforehand: the gates of the best ready jobs, and of the best that wait at these gates.
with seen as (
    select j.gates, j.created_at from {p}queues q cross join lateral (
        select gates, created_at from {p}jobs where state = 'ready' and queue = q.name
        order by priority desc, tag, id limit $2::bigint
    ) as j
    where q.paused_at is null and ($1::text[] is null or q.name = any($1::text[]))
        and j.gates is not null
    union all
    select j.gates, j.created_at from unnest($3::text[]) as n (name) cross join lateral (
        select gates, created_at from {p}jobs where state = 'blocked' and waits_at = n.name
        order by priority desc, tag, id limit 50
    ) as j
), named as (
    select distinct on (w.name) w.*, seen.created_at
    from seen cross join lateral jsonb_to_recordset(seen.gates)
        as w (name text, kind text, quota bigint, period bigint, burst bigint)
    order by w.name, seen.created_at desc
)
select n.name, n.kind, n.quota, n.period, n.burst, n.created_at, g.name is null,
    not g.is_set and g.defined_at < n.created_at and
        (g.kind, g.quota, g.period, g.burst) is distinct from (n.kind, n.quota, n.period, n.burst)
from named n left join {p}gates g on g.name = n.name
union all
-- Of the tasks of these jobs, those that are paused.
select g.name, g.kind, g.quota, g.period, g.burst, 0, false, false from {p}gates g
where g.name >= 'task:' and g.name < 'task;' and g.shut_until > {now} and exists (
    select from {p}queues q cross join lateral (
        select task from {p}jobs where state = 'ready' and queue = q.name
        order by priority desc, tag, id limit $2::bigint
    ) as j
    where q.paused_at is null and ($1::text[] is null or q.name = any($1::text[]))
        and j.task = substr(g.name, 6)
);

-- name: lock_jobs
select 1 from {p}jobs where id = any($1::uuid[]) order by id for update;

-- name: lock_held
select 1 from {p}jobs where state = 'running' and worker = $1::text order by id for update;

-- name: ensure_gates
insert into {p}gates (name, kind, quota, period, burst, defined_at, touched_at)
select name, kind, quota, period, burst, defined_at, {hour} from unnest(
    $1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[]
) as d (name, kind, quota, period, burst, defined_at)
order by name collate "C"
on conflict (name) do nothing;

-- name: redefine_gates
-- The gates are locked. What jobs say that came in a caller's transaction, where no gate is.
update {p}gates g set {defining}
from unnest(
    $1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[]
) as excluded (name, kind, quota, period, burst, defined_at)
where g.name = excluded.name and not g.is_set and g.defined_at < excluded.defined_at;

-- name: lock_gates
select 1 from {p}gates where name = any($1::text[]) order by name for no key update;

-- name: free_settled
with held as (
    select j.id, j.gates from unnest($3::uuid[], $4::bigint[]) as s (id, number)
    join {p}jobs j on j.id between s.id and s.id and j.number = s.number
    where {runs} and j.gates is not null and not {is_repeat}
), {letting_go}
select count(*) from let_go;

-- name: free_jobs
with held as (
    select j.id, j.gates from {p}jobs j
    where j.id = any($1::uuid[]) and {runs} and j.gates is not null
), {letting_go}
select count(*) from let_go;

-- name: free_claims
with held as (
    select j.id, j.gates from unnest($2::uuid[], $3::bigint[]) as s (id, number)
    join {p}jobs j on j.id between s.id and s.id and j.number = s.number
    where {runs} and j.worker = $1::text and j.lost_by is null and j.gates is not null
), {letting_go}
select count(*) from let_go;

-- name: free_held
with held as (
    select j.id, j.gates from {p}jobs j
    where j.state = 'running' and j.worker = $1::text and j.lost_by is null
        and j.gates is not null
), {letting_go}
select count(*) from let_go;

-- name: free_gate
-- Called by: transactional, in the transaction of the task's own writes: `stage` wakes who waits.
update {p}gates set used = greatest(0, used - 1), wake_at = $2::bigint
where name = $1::text and kind = 'places';

-- name: close_gate
-- As free_gate, for the probe of a breaker, whose task has ended well: the breaker closes, unless
-- it was shut meanwhile.
update {p}gates set probe = null,
    tripped = case when shut_until > $2::bigint then tripped else 0 end,
    note = case when shut_until > $2::bigint then note end,
    wake_at = case when shut_until > $2::bigint then shut_until else $2::bigint end,
    shut_until = case when shut_until > $2::bigint then shut_until end
where name = $1::text and kind = 'breaker' and probe = $3::uuid;

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

-- name: wake_parked
-- The gates are locked. Wakes the best jobs that may pass; at claim they meet their other gates.
with open as (
    select g.name, g.kind, greatest(0, {room} - {reserved} - case
        when not {boundless} and {now} - g.woken_at < 1000000 then g.woken else 0 end) as n
    from {p}gates g where g.name = any($1::text[]) and g.wake_at <= {now}
), found as (
    select o.name, o.n, j.id, j.cost,
        sum(j.cost) over (
            partition by o.name order by j.priority desc, j.tag, j.id rows unbounded preceding
        ) as so_far
    from open o cross join lateral (
        -- The gate of a paused task is one that its jobs do not carry.
        select j.id, j.priority, j.tag, coalesce((
            select {takes} from jsonb_to_recordset(j.gates) as w (name text, cost bigint)
            join {p}gates g on g.name = w.name
            where w.name = o.name limit 1
        ), 1) as cost
        from {p}jobs j where j.state = 'blocked' and j.waits_at = o.name
        order by j.priority desc, j.tag, j.id limit least(o.n, 500) for update of j skip locked
    ) as j
), chosen as (
    select name, id, cost from found where so_far <= n
), woken as (
    update {p}jobs j set state = 'ready', reason = null, waits_at = null, tag = {new_turn}
    from chosen where j.id between chosen.id and chosen.id
    returning 1
), noted as (
    update {p}gates g set woken_at = {now}, woken = c.n + case
        when {now} - g.woken_at < 1000000 then g.woken else 0 end
    from (select name, sum(cost) as n from chosen group by name) as c
    where g.name = c.name
), {turning}
select count(*) from woken;

-- name: look_again
-- After wake: notes when to look at these gates next. One that was full just now is looked at once
-- more, because a job that found it full may have been stored a moment later.
update {p}gates g set wake_at = case
    when b.cost is not null then b.at when g.wake_at = {now} then {now} + 1000000 end
from (
    select g.name, w.cost, {look} as at
    from {p}gates g left join lateral (
        select coalesce((
            select o.cost from jsonb_to_recordset(j.gates) as o (name text, cost bigint)
            where o.name = g.name limit 1
        ), 1) as cost
        from {p}jobs j where j.state = 'blocked' and j.waits_at = g.name
        order by j.priority desc, j.tag, j.id limit 1
    ) as w on true
    where g.name = any($1::text[])
) as b
where g.name = b.name and g.wake_at <= {now};

-- name: room_all
-- As room_any, with the parameters of room_named.
select min(q.name), ($5::bigint[])[1] from {p}queues q
where q.paused_at is null and $4::text[] is null having count(*) = 1
union all
select best.name, count(*) from (
    select q.name from {p}queues q cross join lateral (
        select j.priority, j.tag, j.id from {p}jobs j
        where j.state = 'ready' and j.queue = q.name
        order by j.priority desc, j.tag, j.id limit ($5::bigint[])[1]
    ) as head
    where q.paused_at is null
        and (select count(*) from {p}queues o where o.paused_at is null) > 1
    order by head.priority desc, head.tag, head.id limit ($5::bigint[])[1]
) as best group by best.name

-- name: admitting
-- $6: the gates that are locked. A job passes when all of its gates have room for it and for those
-- of its batch that come before it; one that would find no room even so is parked; any other stays
-- ready for the next call.
, picked as (
    select j.id, j.priority, j.tag, j.task, j.gates,
        coalesce(j.expires_at <= {now}, false) as is_late
    from room cross join lateral (
        select id, priority, tag, task, gates, expires_at from {p}jobs
        where state = 'ready' and queue = room.name
        order by priority desc, tag, id limit room.n for update skip locked
    ) as j
    where {is_new}
), asked as (
    select p.id, p.priority, p.tag, w.name collate "C" as name, {takes} as cost,
        case when g.name is not null then {room} end as room
    from picked p
    cross join lateral jsonb_to_recordset(p.gates) as w (name text, cost bigint)
    left join {p}gates g on g.name = w.name and g.name = any($6::text[])
    where p.gates is not null and not p.is_late
    union all
    -- A paused task; one that was not seen beforehand is not locked, and its jobs are left.
    select p.id, p.priority, p.tag, g.name, 1, case when g.name = any($6::text[]) then 0 end
    from picked p join {p}gates g on g.name = 'task:' || p.task
    where g.name >= 'task:' and g.name < 'task;' and g.shut_until > {now} and not p.is_late
), totals as (
    select name, sum(cost)::bigint as n, min(room) as room, (array_agg(id))[1] as job
    from asked group by name
), ample as (
    -- Mostly there is room for all of them, and none need be told from the others.
    select not exists (select from totals where room is null or n > room) as yes
), summed as (
    select *, sum(cost) over (
        partition by name order by priority desc, tag, id rows unbounded preceding
    ) as so_far
    from asked where not (select yes from ample)
), fitting as (
    select *, bool_and(coalesce(so_far <= room, false)) over (partition by id) as fits from summed
), judged as (
    select *, room - coalesce(sum(cost) filter (where fits) over (partition by name), 0) as spare
    from fitting
), verdicts as (
    -- One that is parked passes on the places that it was woken for, so all its gates are there.
    select id, bool_and(fits) as fits, case
        when bool_and(room is not null) then min(name) filter (where cost > spare)
    end as shut_at
    from judged group by id
    union all
    select id, true, null from picked
    where not is_late and (
        (gates is null and id not in (select a.id from asked a)) or (select yes from ample)
    )
), parked as (
    update {p}jobs j set state = 'blocked', reason = 'gate', waits_at = v.shut_at,
        tag = {new_turn}
    from verdicts v where j.id between v.id and v.id and not v.fits and v.shut_at is not null
    returning j.waits_at
), spent as (
    select s.*, case when s.kind = 'window' then (
        select {leaves} from (select s.failed, s.period, s.quota, s.burst) as g
        cross join (select 1::bigint as cost) as w
    ) else s.full_at + 1 - (
        (s.burst - 1) * s.period - s.part + s.quota
    ) / greatest(1, s.quota) end as opens_at, case when s.kind = 'window' then (
        select {leaves} from (select s.failed, s.period, s.quota, s.burst) as g
        cross join (select s.waits as cost) as w
    ) end as waits_until
    from (
        select t.*, g.kind, g.burst, g.period, g.quota, case
                when g.kind = 'window' and t.n > 0
                    then (select {more_starts} from (select t.n) as w)
                else g.failed
            end as failed,
            {full_after} as full_at, {part_after} as part
        from (
            select name, coalesce(sum(cost) filter (where fits), 0)::bigint as n,
                coalesce(sum(cost) filter (where not fits), 0)::bigint as back,
                min(cost) filter (where not fits and cost > spare) as waits,
                (array_agg(id) filter (where fits))[1] as job
            from judged where room is not null group by name
            union all
            select name, n, 0, null, job from totals where (select yes from ample)
        ) as t
        join {p}gates g on g.name = t.name
    ) as s
), charged as (
    update {p}gates g set
        used = g.used + case when g.kind = 'places' then s.n else 0 end,
        probe = case when g.kind = 'breaker' and g.tripped > 0 and s.n > 0 then s.job
            else g.probe end,
        failed = s.failed,
        full_at = case
            when g.kind = 'rate' and s.n > 0 then s.full_at
            when g.kind = 'window' and s.n > 0
                then s.failed[array_upper(s.failed, 1)][1] + g.period
            else g.full_at
        end,
        part = case when g.kind = 'rate' and s.n > 0 then s.part else g.part end,
        woken = greatest(0, g.woken - s.n - s.back),
        touched_at = {hour},
        wake_at = case
            when g.kind = 'places' and g.used + s.n >= g.quota then null
            when g.kind = 'breaker' and g.tripped > 0 and s.n > 0 then null
            -- Who waits is looked at when there is room again, maybe sooner than was said.
            when g.kind in ('rate', 'window') and s.n > 0 and g.wake_at is not null
                then greatest({now}, s.opens_at)
            else least(
                case when s.back > 0 and g.wake_at is not null then least(g.wake_at, {now})
                    else g.wake_at end,
                case
                    when s.waits is null then null
                    when g.shut_until > {now} then nullif(g.shut_until, 9007199254740991)
                    when g.kind = 'window' then s.waits_until
                    when g.kind = 'rate' then case when s.n > 0 then s.full_at else g.full_at end
                        + 1 - ((g.burst - s.waits) * g.period
                        - case when s.n > 0 then s.part else g.part end + g.quota) / g.quota
                end
            )
        end
    from spent s where g.name = s.name
), {taking}
    from verdicts where j.id between verdicts.id and verdicts.id and verdicts.fits
    returning j.*
), {started}, remembered as (
    update {p}workers set request = $2::uuid,
        claim_ids = (select array_agg(id) from claimed),
        claim_numbers = (select array_agg(number) from claimed)
    where id = $1::text and request is distinct from $2::uuid
        and ($3::bigint > 0 or exists (select from picked))
)
select {claim_row}, true from claimed
union all
select {claim_row}, false from late

-- name: claim_gated
with room (name, n) as ({room_named}) {admitting};

-- name: claim_gated_any
with room (name, n) as ({room_all}) {admitting};

-- name: park_more
-- After a claim that parked jobs: many more of the queue may be behind the same gates.
with seen as (
    select j.id, (
        select w.name from jsonb_to_recordset(j.gates) as w (name text, cost bigint)
        join {p}gates g on g.name = w.name and g.name = any($2::text[])
        where {room} < {takes} order by w.name collate "C" limit 1
    ) as at
    from {p}queues q cross join lateral (
        select id, gates from {p}jobs
        where state = 'ready' and gates is not null and queue = q.name
        limit 500 for update skip locked
    ) as j
    where q.paused_at is null and ($1::text[] is null or q.name = any($1::text[]))
), {parking};

-- name: park_paused
-- As park_more, for tasks that are paused: those among the best ready jobs of each queue.
with seen as (
    select j.id, g.name as at
    from {p}queues q cross join lateral (
        select id, task from {p}jobs where state = 'ready' and queue = q.name
        order by priority desc, tag, id limit 500
    ) as h
    join {p}gates g on g.name = 'task:' || h.task and g.name = any($2::text[])
        and g.shut_until > {now}
    join {p}jobs j on j.id between h.id and h.id and j.state || '' = 'ready'
    where q.paused_at is null and ($1::text[] is null or q.name = any($1::text[]))
    for update of j skip locked
), {parking};

-- name: any_left
-- After a claim of at most $2 jobs: whether it left any ready ones behind. One that got as many is
-- told from what it has noted; to look would be to walk over all that it has just claimed.
select case
    when (select cardinality(w.claim_ids) >= $2::bigint from {p}workers w where w.id = $1::text)
        then true
    else exists (
        select from {p}queues q
        where q.paused_at is null and ($3::text[] is null or q.name = any($3::text[]))
            and exists (select from {p}jobs j where j.state = 'ready' and j.queue = q.name)
    )
end;

-- name: gates_due
select name from {p}gates where wake_at <= {now} order by wake_at limit $1::bigint;

-- name: all_gates
select g.name, g.kind, g.quota, g.period, g.burst, g.used, {room}, (
        select count(*) from {p}jobs j where j.state = 'blocked' and j.waits_at = g.name
    ), case when g.shut_until > {now} then g.shut_until end,
    case when g.shut_until > {now} then g.note end, g.is_set, {opens}, g.tripped, (
        select count(*) from {p}holds h where h.gate = g.name and h.is_held and h.kind = 'places'
    ), (
        select count(*) from {p}holds h
        where h.gate = g.name and not h.is_held and h.until_at > {now}
    )
from {p}gates g cross join lateral (
    select coalesce((
        select o.cost from {p}jobs j
        cross join lateral jsonb_to_recordset(j.gates) as o (name text, cost bigint)
        where j.state = 'blocked' and j.waits_at = g.name and o.name = g.name
        order by j.priority desc, j.tag, j.id limit 1
    ), 1) as cost
) as w
where ($1::text is null or g.name = $1::text) and g.name > $2::text
order by g.name limit $3::bigint;

-- name: shut_gate
insert into {p}gates as g (name, kind, quota, period, burst, shut_until, note, touched_at)
values ($1::text, 'switch', 0, 0, 0,
    least({now} + coalesce($2::bigint, 9007199254740991), 9007199254740991), $3::text, {hour})
on conflict (name) do update set shut_until = excluded.shut_until, note = excluded.note,
    touched_at = excluded.touched_at, wake_at = case
        when excluded.shut_until < 9007199254740991 and exists (
            select from {p}jobs j where j.state = 'blocked' and j.waits_at = g.name
        ) then excluded.shut_until
    end
-- One that is shut for longer stays so.
where g.shut_until is null or g.shut_until <= greatest(excluded.shut_until, {now});

-- name: open_gate
-- A breaker is closed by that.
update {p}gates set shut_until = null, note = null, wake_at = {now}, touched_at = {hour},
    tripped = 0, probe = null, failed = case when kind = 'breaker' then '{}' else failed end
where name = $1::text and (shut_until > {now} or tripped > 0)
returning 1;

-- name: set_gate
insert into {p}gates as g (name, kind, quota, period, burst, is_set, touched_at)
values ($1::text, $2::text, $3::bigint, $4::bigint, $5::bigint, true, {hour})
on conflict (name) do update set {bounding}, is_set = true, touched_at = excluded.touched_at
-- One of another kind stands, locked as well.
where $6::boolean or g.kind in (excluded.kind, 'switch')
returning 1;

-- name: reset_gate
update {p}gates set is_set = false, defined_at = {now} - 1
where name = $1::text and is_set returning 1;

-- name: drifted
-- Gates whose places in use are not those that running jobs and holds have.
with running as (
    select u.name, sum(u.n) as n from (
        select w.name, count(*) as n
        from {p}jobs j cross join lateral jsonb_to_recordset(j.gates) as w (name text)
        where j.state = 'running' and j.gates is not null
        group by w.name
        union all
        select gate, count(*) from {p}holds where is_held and kind = 'places' group by gate
    ) as u group by u.name
)
select g.name from {p}gates g join running r on r.name = g.name
where g.kind = 'places' and g.used <> r.n
union
select g.name from {p}gates g
where g.used > 0 and (g.kind <> 'places' or not exists (
    select from running r where r.name = g.name
))
union
-- Breakers that wait for a job that does not run.
select g.name from {p}gates g
where g.probe is not null and (
    select true from {p}jobs j where j.id = g.probe and j.state || '' = 'running' limit 1
) is null;

-- name: mend
-- The gates are locked: what others do to their places is either written or has not begun.
update {p}gates g set wake_at = {now}, used = case when g.kind <> 'places' then 0 else (
    select count(*) from {p}jobs j cross join lateral jsonb_to_recordset(j.gates) as w (name text)
    where j.state = 'running' and j.gates is not null and w.name = g.name
) + (
    select count(*) from {p}holds h where h.gate = g.name and h.is_held and h.kind = 'places'
) end, probe = (select j.id from {p}jobs j where j.id = g.probe and j.state = 'running')
where g.name = any($1::text[]);

-- name: prune_gates
delete from {p}gates where name in (
    select g.name from {p}gates g
    where g.touched_at <= {now} - 7200000000 and g.used = 0 and g.probe is null
        and g.full_at <= {now} and not g.is_set
        and (g.shut_until is null or g.shut_until <= {now})
        and not exists (
            select from {p}jobs j where j.state = 'blocked' and j.waits_at = g.name
        )
        and not exists (select from {p}holds h where h.gate = g.name)
    limit $1::bigint for update skip locked
)
returning 1;
