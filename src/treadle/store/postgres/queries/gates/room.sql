-- What a gate lets pass, and when: fragments about one row `g` of the gates, used by every verb
-- that meets a gate. They read that row and no other. `w.cost` is what a job says it costs, `{now}`
-- the instant of the statement. The same rules stand in core/gates/gate.py for SQLite.

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
    else {all_room}
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
    when g.shut_until > {now} and g.shut_until >= {forever} then null
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
    else {now} + {woken_for}
end from (select {opens} as at) as o)

-- name: hour
({now} - {now} % {an_hour})
