-- Running jobs let go of their gates. Called by: exchange, release, rescue and control, once they
-- have locked the jobs, and then the gates; and by transactional. Rides the primary keys. Any
-- number may run at once, because all lock the gates in the order of their names.

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

-- name: lock_held
select 1 from {p}jobs where state = 'running' and worker = $1::text order by id for update;

-- name: lock_gates_of
-- All gates of jobs that go back, not those alone of which they hold something: they may be parked
-- at any of them.
select 1 from {p}gates g
where g.name in (
    select w.name from {p}jobs j cross join lateral jsonb_to_recordset(j.gates) as w (name text)
    where j.id = any($1::uuid[]) and j.gates is not null
)
order by g.name for no key update of g;

-- name: lock_gates_held
-- The same for all that a worker holds.
select 1 from {p}gates g
where g.name in (
    select w.name from {p}jobs j cross join lateral jsonb_to_recordset(j.gates) as w (name text)
    where j.state = 'running' and j.worker = $1::text and j.gates is not null
)
order by g.name for no key update of g;

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
