-- Who waits at gates becomes ready. Called by: every verb that has made room at a gate, and by
-- stage for those of which it is time. Rides gates_wake and jobs_waiting. Any number may run at
-- once: the gates are locked, and of jobs only such as nobody else has locked become ready.

-- name: wake_parked
-- The gates are locked. Wakes the best jobs that may pass; at claim they meet their other gates.
with open as (
    select g.name, g.kind, greatest(0, {room} - {reserved} - case
        when not {boundless} and {now} - g.woken_at < {woken_for} then g.woken else 0 end) as n
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
        order by j.priority desc, j.tag, j.id limit least(o.n, {looks_max})
        for update of j skip locked
    ) as j
), chosen as (
    select name, id, cost from found where so_far <= n
), woken as (
    update {p}jobs j set state = 'ready', reason = null, waits_at = null, tag = {new_turn}
    from chosen where j.id between chosen.id and chosen.id
    returning 1
), noted as (
    update {p}gates g set woken_at = {now}, woken = c.n + case
        when {now} - g.woken_at < {woken_for} then g.woken else 0 end
    from (select name, sum(cost) as n from chosen group by name) as c
    where g.name = c.name
), {turning}
select count(*) from woken;

-- name: look_again
-- After wake: notes when to look at these gates next. One that was full just now is looked at once
-- more, because a job that found it full may have been stored a moment later.
update {p}gates g set wake_at = case
    when b.cost is not null then b.at when g.wake_at = {now} then {now} + {woken_for} end
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

-- name: gates_due
select name from {p}gates where wake_at <= {now} order by wake_at limit $1::bigint;
