-- Called by: every verb that makes jobs ready or parks them, in its own transaction, and the
-- control of tenants. Rides jobs_untagged, where jobs that are ready are only in the transaction
-- that has made them so, then jobs_ready and jobs_turns, one look for each queue, priority and
-- tenant. Two transactions may come to the same tags for one tenant: ties go by id, and what comes
-- after either stands behind both.

-- name: new_turn
-- A tag below zero is the most that the next one may be, turned round.
case when j.tenant is null then 0 else {untagged} end

-- name: same_turn
-abs(j.tag)

-- name: given_turns
-- After a CTE begun (id, line, priority, tenant, most, place, start, step), of which the first row
-- of each tenant has start and step.
turns as (
    select id, least(most, max(start) over flow + place * max(step) over flow) as tag
    from begun window flow as (partition by line, priority, tenant)
)
update {p}jobs j set tag = turns.tag from turns where j.id between turns.id and turns.id

-- name: give_tags
with news as materialized (
    select j.id, j.queue as line, j.priority, j.tenant, -j.tag as most, row_number() over (
        partition by j.queue, j.priority, j.tenant, j.tag = {untagged} order by j.run_at, j.id
    ) - 1 as place, row_number() over (
        partition by j.queue, j.priority, j.tenant order by j.run_at, j.id
    ) as nth
    -- Written so that no planner looks for them in all of jobs_ready.
    from {p}jobs j where j.state || '' = 'ready' and j.tag < 0
), begun as materialized (
    select n.id, n.line, n.priority, n.tenant, n.most, n.place, s.step,
        greatest(s.head, s.last) as start
    from news n left join lateral (
        select t.step, {head_tag} as head, t.step + (
            select j.tag from {p}jobs j
            where j.state = 'ready' and j.queue = n.line and j.tenant = n.tenant
                and j.priority = n.priority and j.tag > 0
            order by j.tag desc limit 1
        ) as last
        from (select {step} as step) as t
    ) as s on n.nth = 1
), {given_turns};

-- name: step
coalesce((select t.stride from {p}tenants t where t.name = n.tenant), {stride})

-- name: head_tag
-- Where a queue has come to; one that was empty begins where the least of the others has.
coalesce((
    select j.tag from {p}jobs j
    where j.state = 'ready' and j.queue = n.line and j.priority = n.priority and j.tag > 0
    order by j.tag limit 1
), (
    select min((
        select j.tag from {p}jobs j
        where j.state = 'ready' and j.queue = q.name and j.priority = n.priority and j.tag > 0
        order by j.tag limit 1
    )) from {p}queues q where q.paused_at is null
), 1)

-- name: give_tags_waiting
-- The same for those that are parked, in the line of each gate.
with news as materialized (
    select j.id, j.waits_at as line, j.priority, j.tenant, -j.tag as most, row_number() over (
        partition by j.waits_at, j.priority, j.tenant order by j.run_at, j.id
    ) as nth
    from {p}jobs j where j.state || '' = 'blocked' and j.waits_at is not null and j.tag < 0
), begun as materialized (
    select n.id, n.line, n.priority, n.tenant, n.most, n.nth - 1 as place, s.step,
        greatest(s.head, s.last) as start
    from news n left join lateral (
        select t.step, coalesce((
            select j.tag from {p}jobs j
            where j.state = 'blocked' and j.waits_at = n.line and j.priority = n.priority
                and j.tag > 0
            order by j.tag limit 1
        ), 1) as head, t.step + (
            select j.tag from {p}jobs j
            where j.state = 'blocked' and j.waits_at = n.line and j.tenant = n.tenant
                and j.priority = n.priority and j.tag > 0
            order by j.tag desc limit 1
        ) as last
        from (select {step} as step) as t
    ) as s on n.nth = 1
), {given_turns};

-- name: tenants
select name, stride from {p}tenants
where ($1::text is null or name = $1::text) and name > $2::text
order by name limit $3::bigint;

-- name: set_tenant
insert into {p}tenants (name, stride) values ($1::text, $2::bigint)
on conflict (name) do update set stride = excluded.stride;

-- name: drop_tenant
delete from {p}tenants where name = $1::text;
