-- Called by: exchange, before free_settled and for the same claims, with their gates locked. Rides
-- the primary keys. What it makes of what attempts say is told in core/gates/tells.py; no order
-- among them counts, because only one of them can be a breaker's probe, and of holds the latest
-- instant wins.

-- name: tell_gates
with said as (
    select s.* from unnest(
        $3::uuid[], $4::bigint[], $5::text[], $6::text[], $7::bigint[], $8::text[]
    ) with ordinality as s (id, number, gate, says, hold, why, place)
    join {p}jobs j on j.id between s.id and s.id and j.number = s.number
    where {runs} and not {is_repeat}
), learnt as (
    select s.*, g.learns and g.probe = s.id and s.says = 'well' as heals,
        g.learns and g.probe = s.id and s.says = 'failed' as breaks,
        g.learns and g.tripped = 0 and s.says = 'failed' as counts
    from said s join (
        select *, kind = 'breaker' and coalesce(shut_until <= {now}, true) as learns
        from {p}gates
    ) as g on g.name = s.gate
), news as (
    select g.name, coalesce(bool_or(l.heals), false) as heals,
        coalesce(bool_or(l.breaks), false) as breaks,
        count(*) filter (where l.counts) as counted,
        array_agg(l.why order by l.place) filter (where l.breaks or l.counts) as whys,
        max(l.hold) filter (where l.says = 'hold') as hold,
        (array_agg(l.why order by l.hold desc, l.place) filter (where l.says = 'hold'))[1]
            as held_why,
        array(select at from unnest(g.failed) as at where at > {now} - g.period) as lately
    from learnt l join {p}gates g on g.name = l.gate
    group by g.name
), judged as (
    select n.*, n.breaks or (n.counted > 0 and cardinality(n.lately) + n.counted >= g.quota)
        as trips
    from news n join {p}gates g on g.name = n.name
), next as (
    select j.*,
        case when j.hold > 0 then {now} + least(j.hold, {forever} - {now}) end as held_until,
        case
            when j.trips then {now} + g.burst * (1 << least(g.tripped, {doublings_max})::int)
            when not j.heals then g.shut_until
        end as shut_until,
        -- The failure that opened it is the one that was still lacking.
        case
            when j.trips then j.whys[
                greatest(1, least(cardinality(j.whys), g.quota - cardinality(j.lately)))
            ]
            when not j.heals then g.note
        end as note
    from judged j join {p}gates g on g.name = j.name
    where j.trips or j.heals or j.counted > 0 or j.hold > 0
)
update {p}gates g set
    tripped = case when n.trips then g.tripped + 1 when n.heals then 0 else g.tripped end,
    probe = case when not (n.trips or n.heals) then g.probe end,
    failed = case
        when n.trips or n.heals then '{}'
        when n.counted > 0 then n.lately || array_fill({now}, array[n.counted::int])
        else g.failed
    end,
    shut_until = case when n.held_until > coalesce(n.shut_until, 0) then n.held_until
        else n.shut_until end,
    note = case when n.held_until > coalesce(n.shut_until, 0) then n.held_why else n.note end,
    touched_at = {hour},
    wake_at = case
        when n.held_until > coalesce(n.shut_until, 0) then n.held_until
        when n.trips then n.shut_until
        when n.heals then {now}
        else g.wake_at
    end
from next n where g.name = n.name;
