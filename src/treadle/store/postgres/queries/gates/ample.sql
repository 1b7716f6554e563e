-- Called by: exchange, in place of what claim.sql says and its like, where the last one has found
-- room for all at gates at which nobody waits. Rides jobs_ready and the primary keys; in its
-- transaction jobs are locked first, then gates in the order of their names. Whatever is not so
-- simple any more is found out here, under the locks, and left for the next exchange, which says
-- all.

-- name: lock_worker_gated
-- As lock_worker, where it is known that ready jobs may have gates.
select request, claim_ids, claim_numbers, lost_in, lost, true from {p}workers
where id = $1::text for no key update;

-- name: settle_noted
-- As settle_succeeded; what the jobs that ended have held is noted for free_noted. Most of them
-- carry the same gates: those in $9 are counted by a glance, others by what they are.
with {succeeding}, held as (
    select nullif(gates, (select $9::text::jsonb)) as gates, count(*) as n
    from gone where gates is not null group by 1
)
select place from gone where (
    select set_config('treadle.freed', coalesce(jsonb_agg(jsonb_build_object(
        'gates', coalesce(gates, $9::text::jsonb), 'n', n
    ))::text, ''), true) from held
) is not null;

-- name: free_noted
-- $1: who has ended, or has been lost. Lets go as in letting_go; answers which gates there is
-- somebody to wake at.
with freed as (
    select w.name, sum(h.n)::bigint as n
    from jsonb_to_recordset(nullif(current_setting('treadle.freed', true), '')::jsonb)
        as h (gates jsonb, n bigint)
    cross join lateral jsonb_to_recordset(h.gates) as w (name text)
    group by w.name
), let_go as (
    update {p}gates g set used = greatest(0, g.used - f.n), touched_at = {hour}, probe = null,
        wake_at = case when g.probe is not null or g.used >= g.quota or g.wake_at is not null
            then {now} end
    from freed f
    where g.name between f.name and f.name and (g.kind = 'places' or (
        g.probe = any($1::uuid[]) and not exists (
            select from {p}jobs j where j.id between g.probe and g.probe
        )
    ))
    returning g.name, g.wake_at
)
select name from let_go where wake_at <= {now} order by name;

-- name: is_calm
-- Nobody waits at g, and nothing but the room for all of a batch decides who passes.
(g.wake_at is null and g.kind <> 'window' and g.tripped = 0
    and coalesce(g.shut_until <= {now}, true))

-- name: gates_calm
-- $1: the gates of an exchange, $2: how many jobs the next one may claim. No job is parked there,
-- and no task is paused.
select not exists (
    select from {p}gates g where g.name = any($1::text[]) and not (
        {is_calm} and {room} >= $2::bigint and not exists (
            select from {p}jobs j where j.state = 'blocked' and j.waits_at = g.name
        )
    )
) and not exists ({paused_tasks});

-- name: meant
select id, gates, expires_at from {p}jobs where state = 'ready' and queue = room.name

-- name: best_meant
, chosen as (
    select j.* from room cross join lateral (
        {meant} order by priority desc, tag, id limit room.n for update skip locked
    ) as j
    where {is_new}
)

-- name: best_meant_on
-- As in picking_on, behind the rows of one priority that were claimed.
, above as (
    select j.* from room cross join lateral (
        {meant} and priority > $6::bigint
        order by priority desc, tag, id limit room.n for update skip locked
    ) as j
    where {is_new}
), beyond as (
    select j.* from room cross join lateral (
        {meant} and priority = $6::bigint and (tag, id) > ($7::bigint, $8::uuid)
        order by tag, id limit room.n - (select count(*) from above) for update skip locked
    ) as j
    where {is_new}
), below as (
    select j.* from room cross join lateral (
        {meant} and priority < $6::bigint
        order by priority desc, tag, id
        limit room.n - (select count(*) from above) - (select count(*) from beyond)
        for update skip locked
    ) as j
    where {is_new}
), chosen as (
    select * from above union all select * from beyond union all select * from below
)

-- name: claiming_ample
-- After the CTEs named (gates), those that are locked, and common (gates), what most jobs carry,
-- which is not told again. Claims all that it picks, or none.
, picked as (
    select id, gates, coalesce(expires_at <= {now}, false) as is_late from chosen
), alike as (
    select nullif(gates, (select gates from common)) as gates, count(*) as n
    from picked where gates is not null and not is_late group by 1
), asked as (
    select w.name, sum(a.n * {takes})::bigint as n, min({room}) as room,
        bool_and(coalesce({is_calm}, false)) as is_calm
    from alike a cross join common cross join lateral jsonb_to_recordset(
        coalesce(a.gates, common.gates)
    ) as w (name text, cost bigint)
    left join {p}gates g on g.name between w.name and w.name
        and g.name = any((select gates from named)::text[])
    group by w.name
), ample as (
    select not exists (select from asked where not is_calm or n > room)
        and not exists ({paused_tasks}) as yes
), charged as (
    update {p}gates g set
        used = g.used + case when g.kind = 'places' then t.n else 0 end,
        full_at = case when g.kind = 'rate' then {full_after} else g.full_at end,
        part = case when g.kind = 'rate' then {part_after} else g.part end,
        woken = greatest(0, g.woken - t.n), touched_at = {hour}
    from asked t where g.name between t.name and t.name and (select yes from ample)
), {taking}
    from picked
    where j.id between picked.id and picked.id and not picked.is_late and (select yes from ample)
    returning j.*
), {started}
select {claim_head}, case
    when gates = (select c.gates from common c) then '' else {gates_text}
end, true from claimed
union all
select {claim_row}, false from late

-- name: claim_ample
with named (gates) as (select $6::text[]), common (gates) as (select $7::text::jsonb),
room (name, n) as ({room_named})
{best_meant} {claiming_ample};

-- name: claim_ample_any
with named (gates) as (select $6::text[]), common (gates) as (select $7::text::jsonb),
room (name, n) as ({room_all})
{best_meant} {claiming_ample};

-- name: claim_ample_on
with named (gates) as (select $10::text[]), common (gates) as (select $11::text::jsonb),
room (name, n) as ({room_on})
{best_meant_on} {claiming_ample};
