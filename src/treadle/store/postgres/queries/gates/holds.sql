-- Called by: hold_take, hold_renew, hold_free, prune. Rides the primary key, holds_line and
-- holds_until. Each but hold_renew comes after lock_gates, in whose transaction the row of a hold
-- and what is counted of it are written together; hold_renew touches a row and no gate.

-- name: lapse_holds
-- The gates are locked.
with gone as (
    delete from {p}holds where (gate, token) in (
        select gate, token from {p}holds
        where gate = any($1::text[]) and until_at <= {now}
        order by gate, token limit {lapses_max} for update
    )
    returning gate, kind, is_held
)
update {p}gates g set used = greatest(0, g.used - f.n), wake_at = {now}
from (
    select gate, count(*) filter (where is_held and kind = 'places') as n from gone group by gate
) as f
where g.name = f.gate;

-- name: hold_take
-- $1: the gate, which is locked, $2: the token, $3: what it costs, $4: the lease. Answers whether
-- it is held, the instant at which a clock may let it through, and how many stand before it.
with mine as (
    select is_held, is_next, since from {p}holds where gate = $1::text and token = $2::bytea
), first as (
    select token from {p}holds
    where gate = $1::text and not is_held and until_at > {now} order by since, token limit 1
), judged as (
    select g.name, g.kind, g.quota, g.period, g.burst, g.full_at < {now} as rested,
        {takes} as takes, {opens} as opens,
        {room} - case when {now} - g.woken_at < {woken_for} then g.woken else 0 end as room,
        f.token is null or f.token = $2::bytea as is_first, p.is_parked,
        coalesce(m.is_held, false) as was_held,
        -- Where no job waits it is the turn of who asks.
        coalesce(m.is_next, false)
            or ((f.token is null or f.token = $2::bytea) and not p.is_parked) as is_next
    from {p}gates g cross join (select $3::bigint as cost) as w
    left join mine m on true left join first f on true
    cross join lateral (select exists (
        select from {p}jobs j where j.state = 'blocked' and j.waits_at = g.name
    ) as is_parked) as p
    where g.name = $1::text
), ruled as (
    select *, was_held or (is_first and is_next and takes <= room) as passes from judged
), kept as (
    insert into {p}holds as h (gate, token, kind, cost, is_held, is_next, since, until_at)
    select name, $2::bytea, kind, $3::bigint, passes, is_next, {now},
        {now} + case when passes then $4::bigint else {asks_for} end
    from ruled
    where passes or exists (select from mine) or (
        select count(*) from {p}holds
        where gate = $1::text and not is_held and until_at > {now}
    ) < {asking_max}
    on conflict (gate, token) do update set
        kind = excluded.kind, cost = excluded.cost, is_held = excluded.is_held,
        is_next = excluded.is_next, until_at = excluded.until_at
), spent as (
    select s.*, case when s.kind = 'window' then (
        select {leaves} from (select s.failed, s.period, s.quota, s.burst) as g
        cross join (select 1::bigint as cost) as w
    ) else s.full_at + 1 - ((s.burst - 1) * s.period - s.part + s.quota)
        / greatest(1, s.quota) end as next_at
    from (
        select r.*, case
                when g.kind = 'window' and r.passes
                    then (select {more_starts} from (select r.takes as n) as w)
                else g.failed
            end as failed, c.at + c.owed / greatest(1, r.quota) as full_at,
            c.owed % greatest(1, r.quota) as part
        from ruled r join {p}gates g on g.name = r.name cross join lateral (
            select case when r.rested then {now} else g.full_at end as at,
                case when r.rested then 0 else g.part end + r.takes * r.period as owed
        ) as c
    ) as s
), charged as (
    update {p}gates g set
        used = g.used + case when s.passes and g.kind = 'places' then 1 else 0 end,
        failed = s.failed,
        full_at = case
            when s.passes and g.kind = 'rate' then s.full_at
            when s.passes and g.kind = 'window'
                then s.failed[array_upper(s.failed, 1)][1] + g.period
            else g.full_at
        end,
        part = case when s.passes and g.kind = 'rate' then s.part else g.part end,
        touched_at = {hour},
        wake_at = case
            -- It is the turn of a job that waits.
            when not s.passes then {now}
            when g.kind = 'places' and g.used + 1 >= g.quota then null
            when g.kind in ('rate', 'window') and g.wake_at is not null and s.next_at > {now}
                then s.next_at
            else g.wake_at
        end
    from spent s
    where g.name = s.name and not s.was_held and (s.passes or (s.is_parked and s.room > 0))
)
select passes, opens, (
    select count(*) from {p}holds h
    where h.gate = $1::text and not h.is_held and h.until_at > {now}
        and (h.since, h.token) < (coalesce((select since from mine), {now}), $2::bytea)
) as ahead
from ruled;

-- name: hold_renew
update {p}holds set until_at = greatest(until_at, {now} + $3::bigint)
where gate = $1::text and token = $2::bytea and is_held
returning 1;

-- name: hold_free
with gone as (
    delete from {p}holds where gate = $1::text and token = $2::bytea returning kind, is_held
), freed as (
    update {p}gates g set wake_at = {now}, touched_at = {hour}, used = greatest(
        0, g.used - case when gone.is_held and gone.kind = 'places' then 1 else 0 end
    )
    from gone where g.name = $1::text
)
select 1 from gone;

-- name: holds_over
select distinct gate from (
    select gate from {p}holds where until_at <= {now} order by until_at limit {lapses_max}
) as o;

-- name: reserved
-- What of a gate's room is for who asks outside jobs, because it is his turn.
coalesce((
    select case when w.is_next then {takes} end from {p}holds w
    where w.gate = g.name and not w.is_held and w.until_at > {now}
    order by w.since, w.token limit 1
), 0)

-- name: turning
-- After a CTE chosen (name): jobs have had their turn, the next one is that of who asked first.
turned as (
    update {p}holds h set is_next = true
    from (select distinct name from chosen) as c
    where h.gate = c.name and not h.is_next and h.token = (
        select o.token from {p}holds o
        where o.gate = c.name and not o.is_held and o.until_at > {now}
        order by o.since, o.token limit 1
    )
)
