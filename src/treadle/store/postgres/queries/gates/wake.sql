-- Who waits at gates becomes ready. Called by: every verb that has made room at a gate, and by
-- stage for those of which it is time. Rides gates_wake and jobs_waiting. Any number may run at
-- once: the gates are locked, and of jobs only such as nobody else has locked become ready.

-- name: shut_elsewhere
-- The first other gate of j, which waits at o, that does not let it pass now. Most jobs have one
-- gate alone.
case when jsonb_array_length(j.gates) > 1 or o.name like 'task:%' then (
    select w.name from jsonb_to_recordset(j.gates) as w (name text, cost bigint)
    join {p}gates g on g.name = w.name
    where w.name <> o.name and {room} < {takes}
    order by w.name collate "C" limit 1
) end

-- name: wake_parked
-- $1: the gates, which are locked. Wakes the best jobs that may pass; those that another gate would
-- not let pass wait there from now on. Where that one is not locked the line stops, for `stage`,
-- which locks it, goes on. $2: how many are looked at, at least; they are not read for nothing.
with open as (
    select g.name, g.kind, greatest(0, {room} - {reserved} - case
        when not {boundless} and {now} - g.woken_at < {woken_for} then g.woken else 0 end) as n
    from {p}gates g where g.name = any($1::text[]) and g.wake_at <= {now}
), found as (
    select o.name, o.n, j.id, j.cost, j.shut_at, row_number() over line as place,
        sum(j.cost) filter (where j.shut_at is null) over line as so_far
    from open o cross join lateral (
        -- The gate of a paused task is one that its jobs do not carry.
        select j.id, j.priority, j.tag, coalesce((
            select {takes} from jsonb_to_recordset(j.gates) as w (name text, cost bigint)
            join {p}gates g on g.name = w.name
            where w.name = o.name limit 1
        ), 1) as cost, {shut_elsewhere} as shut_at
        from {p}jobs j where j.state = 'blocked' and j.waits_at = o.name
        order by j.priority desc, j.tag, j.id
        limit case when o.n > 0 then least(greatest(o.n, $2::bigint), {looks_max}) else 0 end
        for update of j skip locked
    ) as j
    window line as (
        partition by o.name order by j.priority desc, j.tag, j.id rows unbounded preceding
    )
), fitting as (
    -- One that costs more than there is keeps those behind it waiting.
    select *, bool_and(coalesce(so_far, 0) + case when shut_at is null then 0 else cost end <= n)
        over (partition by name order by place) as fits
    from found
), reached as (
    select name, id, cost, shut_at,
        bool_and(shut_at is null or shut_at = any($1::text[]))
            over (partition by name order by place) as is_next
    from fitting where fits
), chosen as (
    select name, id, cost from reached where is_next and shut_at is null
), woken as (
    update {p}jobs j set state = 'ready', reason = null, waits_at = null, tag = {new_turn}
    from chosen where j.id between chosen.id and chosen.id
    returning 1
), moved as (
    update {p}jobs j set waits_at = r.shut_at, tag = {new_turn}
    from reached r where j.id between r.id and r.id and r.is_next and r.shut_at is not null
    returning j.waits_at
), noted as (
    update {p}gates g set woken_at = {now}, woken = c.n + case
        when {now} - g.woken_at < {woken_for} then g.woken else 0 end
    from (select name, sum(cost) as n from chosen group by name) as c
    where g.name = c.name
), {turning}
select (select count(*) from woken), (select count(*) from moved),
    set_config('treadle.go_on', coalesce(
        (select array_agg(distinct name)::text from reached where shut_at is not null), '{}'
    ), true),
    set_config('treadle.moved', coalesce(
        (select array_agg(distinct waits_at)::text from moved), '{}'
    ), true);

-- name: look_again
-- After wake: notes when to look at these gates next, and at those to which it has moved jobs. One
-- whose line goes on behind such jobs is looked at once more, and one that was full just now, too,
-- because a job that found it full may have been stored a moment later.
update {p}gates g set wake_at = case
    when g.name = any(current_setting('treadle.go_on', true)::text[]) then {now}
    when g.wake_at is null or g.wake_at > {now} then least(g.wake_at, b.at)
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
where g.name = b.name and (
    g.wake_at <= {now} or g.name = any(current_setting('treadle.moved', true)::text[])
);

-- name: gates_due
-- Those of which it is time, and then other gates of the best that wait there, which are locked
-- with them.
with due as (
    select name from {p}gates where wake_at <= {now} order by wake_at limit $1::bigint
)
select name from due
union
select w.name from due cross join lateral (
    select j.gates from {p}jobs j where j.state = 'blocked' and j.waits_at = due.name
    order by j.priority desc, j.tag, j.id limit 20
) as j cross join lateral jsonb_to_recordset(j.gates) as w (name text);
