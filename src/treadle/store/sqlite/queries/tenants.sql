-- Called by: every write, before its commit, and the control of tenants. Rides jobs_turns, where
-- jobs without a tag are only while a write has made them ready, then jobs_ready: one look for each
-- queue, priority and tenant. One writer at a time, so no two jobs of a tenant come to one tag.

-- name: any_untagged
select 1 from {p}jobs where tenant is not null and state = 'ready' and (tag < 0) = 1 limit 1;

-- name: give_tags
-- A tag below zero is the most that the next one may be, turned round: nothing bounds a new turn
-- but the largest tag there is, and a job that went back unspent never comes behind its old place.
with news as materialized (
    select id, queue, priority, tenant, -tag as most, row_number() over (
        partition by queue, priority, tenant, tag = {untagged} order by run_at, id
    ) - 1 as place
    from {p}jobs where tenant is not null and state = 'ready' and (tag < 0) = 1
), flows as materialized (
    select n.queue, n.priority, n.tenant, coalesce(t.stride, 1000) as stride, coalesce((
        select j.tag from {p}jobs as j
        where j.state = 'ready' and j.queue = n.queue and j.priority = n.priority and j.tag > 0
        order by j.tag limit 1
    ), (
        -- A queue that was empty begins where the least of the others has come to.
        select min((
            select j.tag from {p}jobs as j
            where j.state = 'ready' and j.queue = q.name and j.priority = n.priority and j.tag > 0
            order by j.tag limit 1
        )) from {p}queues as q where q.paused_at is null
    ), 1) as head, (
        select j.tag from {p}jobs as j
        where j.state = 'ready' and (j.tag < 0) = 0 and coalesce(j.waits_at, j.queue) = +n.queue
            and j.tenant = n.tenant and j.priority = n.priority
        order by j.tag desc limit 1
    ) as last
    from (select distinct queue, priority, tenant from news) as n
    left join {p}tenants as t on t.name = n.tenant
)
update {p}jobs set tag = min(
    n.most, max(f.head, coalesce(f.last + f.stride, 1)) + n.place * f.stride
)
from news as n join flows as f
    on f.queue = n.queue and f.priority = n.priority and f.tenant = n.tenant
where {p}jobs.id = n.id;

-- name: tenants
select name, stride from {p}tenants
where (:only is null or name = :only) and name > :after order by name limit :limit;

-- name: set_tenant
insert into {p}tenants (name, stride) values (?, ?)
on conflict (name) do update set stride = excluded.stride;

-- name: drop_tenant
delete from {p}tenants where name = ?;
