-- What people see of gates and do to them, and what upkeep mends. Called by: the control of gates,
-- pause and resume of a task, stage and prune. Rides the primary keys, jobs_gated and jobs_waiting.
-- Any number may run at once: each locks gates alone, in the order of their names.

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
    least({now} + coalesce($2::bigint, {forever}), {forever}), $3::text, {hour})
on conflict (name) do update set shut_until = excluded.shut_until, note = excluded.note,
    touched_at = excluded.touched_at, wake_at = case
        when excluded.shut_until < {forever} and exists (
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
    where g.touched_at <= {now} - {gate_kept} and g.used = 0 and g.probe is null
        and g.full_at <= {now} and not g.is_set
        and (g.shut_until is null or g.shut_until <= {now})
        and not exists (
            select from {p}jobs j where j.state = 'blocked' and j.waits_at = g.name
        )
        and not exists (select from {p}holds h where h.gate = g.name)
    limit $1::bigint for update skip locked
)
returning 1;
