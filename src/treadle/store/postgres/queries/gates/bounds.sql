-- What a gate bounds, and who says so. Called by: every verb that makes a job with gates ready, and
-- by the control of gates. Rides the primary keys; a new kind counts what runs, by jobs_gated. Any
-- number may run at once: each locks its gates in the order of their names.

-- name: running_at
-- The places in use of g once it bounds what `excluded` says: a new kind counts what runs already.
case when g.kind = excluded.kind then g.used when excluded.kind <> 'places' then 0 else (
    select count(*) from {p}jobs j cross join lateral jsonb_to_recordset(j.gates) as w (name text)
    where j.state = 'running' and j.gates is not null and w.name = g.name
) + (
    select count(*) from {p}holds h where h.gate = g.name and h.is_held and h.kind = 'places'
) end

-- name: bounding
-- What has started in a window counts on, and is forgotten where the kind is another.
kind = excluded.kind, quota = excluded.quota, period = excluded.period, burst = excluded.burst,
used = {running_at}, part = 0, wake_at = {now},
failed = case when g.kind = excluded.kind then g.failed else '{}' end,
full_at = case
    when g.kind = 'window' and excluded.kind = 'window' and g.failed <> '{}'
        then g.failed[array_upper(g.failed, 1)][1] + excluded.period
    else least(
        g.full_at, {now} + excluded.burst * excluded.period / greatest(1, excluded.quota)
    )
end

-- name: defining
{bounding}, defined_at = excluded.defined_at

-- name: define_news
-- After a CTE given: what differs from what there is.
, news as (
    select d.* from given d left join {p}gates g on g.name = d.name
    where g.name is null or (not g.is_set and g.defined_at < {now} and
        (g.kind, g.quota, g.period, g.burst) is distinct from (d.kind, d.quota, d.period, d.burst))
)
insert into {p}gates as g (name, kind, quota, period, burst, defined_at, touched_at)
select name, kind, quota, period, burst, {now}, {hour} from news order by name collate "C"
on conflict (name) do update set {defining}
where not g.is_set and g.defined_at < excluded.defined_at

-- name: define_gates
with given as (
    select distinct on (name collate "C") * from unnest(
        $1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[]
    ) as d (name, kind, quota, period, burst)
    order by name collate "C"
)
{define_news};

-- name: define_made
-- Of a batch without keys: one that was made before ($6) says nothing.
with given as (
    select distinct on (name collate "C") * from unnest(
        $1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[]
    ) as d (name, kind, quota, period, burst)
    where (select true from {p}requests r where r.id = $6::uuid limit 1) is null
    order by name collate "C"
)
{define_news};

-- name: define_stored
-- In a batch with keys: what the jobs say ($6) that were stored just now, of a gate the first one.
-- Others met who holds their key, or came before.
with given as (
    select distinct on (d.name collate "C") d.* from unnest(
        $1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::uuid[]
    ) with ordinality as d (name, kind, quota, period, burst, job, place)
    where {is_made} and (select true from {p}jobs j where j.id = d.job and j.number = 0 limit 1)
    order by d.name collate "C", d.place
)
{define_news};

-- name: ensure_gates
insert into {p}gates (name, kind, quota, period, burst, defined_at, touched_at)
select name, kind, quota, period, burst, defined_at, {hour} from unnest(
    $1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[]
) as d (name, kind, quota, period, burst, defined_at)
order by name collate "C"
on conflict (name) do nothing;

-- name: redefine_gates
-- The gates are locked. What jobs say that came in a caller's transaction, where no gate is.
update {p}gates g set {defining}
from unnest(
    $1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[]
) as excluded (name, kind, quota, period, burst, defined_at)
where g.name = excluded.name and not g.is_set and g.defined_at < excluded.defined_at;

-- name: set_gate
insert into {p}gates as g (name, kind, quota, period, burst, is_set, touched_at)
values ($1::text, $2::text, $3::bigint, $4::bigint, $5::bigint, true, {hour})
on conflict (name) do update set {bounding}, is_set = true, touched_at = excluded.touched_at
-- One of another kind stands, locked as well.
where $6::boolean or g.kind in (excluded.kind, 'switch')
returning 1;

-- name: reset_gate
update {p}gates set is_set = false, defined_at = {now} - 1
where name = $1::text and is_set returning 1;
