-- A claim that meets gates. Called by: exchange, which asks beforehand what there is (peek), locks
-- the jobs, then the gates in the order of their names, and claims under these locks. Rides
-- jobs_ready, jobs_waiting and the primary keys. Any number may run at once: of jobs, a claim takes
-- only such as nobody else has locked. Where there is room for all, ample.sql says less.

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

-- name: lock_gates
select 1 from {p}gates where name = any($1::text[]) order by name for no key update;

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
-- of its batch that come before it, where named queues ($4) come in their order; one that would
-- find no room even so is parked; any other stays ready for the next call.
, picked as (
    select j.id, j.priority, j.tag, j.task, j.gates,
        array_position($4::text[], room.name) as turn,
        coalesce(j.expires_at <= {now}, false) as is_late
    from room cross join lateral (
        select id, priority, tag, task, gates, expires_at from {p}jobs
        where state = 'ready' and queue = room.name
        order by priority desc, tag, id limit room.n for update skip locked
    ) as j
    where {is_new}
), asked as (
    select p.id, p.turn, p.priority, p.tag, w.name collate "C" as name, {takes} as cost,
        case when g.name is not null then {room} end as room
    from picked p
    cross join lateral jsonb_to_recordset(p.gates) as w (name text, cost bigint)
    left join {p}gates g on g.name = w.name and g.name = any($6::text[])
    where p.gates is not null and not p.is_late
    union all
    -- A paused task; one that was not seen beforehand is not locked, and its jobs are left.
    select p.id, p.turn, p.priority, p.tag, g.name, 1, case when g.name = any($6::text[]) then 0 end
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
        partition by name order by turn, priority desc, tag, id rows unbounded preceding
    ) as so_far
    from asked where not (select yes from ample)
), fitting as (
    select *, bool_and(coalesce(so_far <= room, false)) over (partition by id) as fits from summed
), judged as (
    select *, room - coalesce(sum(cost) filter (where fits) over (partition by name), 0) as spare
    from fitting
), verdicts as (
    -- One that is parked passes on the places that it was woken for, so all its gates are there.
    -- Where its task is paused it waits for that, before it meets the others.
    select id, bool_and(fits) as fits, case
        when bool_and(room is not null) then coalesce(
            min(name) filter (where cost > spare and name >= 'task:' and name < 'task;'),
            min(name) filter (where cost > spare)
        )
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
                -- One that is left for the next call keeps the places that it was woken for.
                coalesce(sum(cost) filter (
                    where id in (select v.id from verdicts v where v.shut_at is not null)
                ), 0)::bigint as back,
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
                    when g.shut_until > {now} then nullif(g.shut_until, {forever})
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
), {started}
{answered}

-- name: claim_gated
with room (name, n) as ({room_named}) {admitting};

-- name: claim_gated_any
with room (name, n) as ({room_all}) {admitting};

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
