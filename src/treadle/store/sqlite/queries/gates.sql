-- Called by: every verb that makes a job with gates ready, claims it or lets it go, and by the
-- control of gates. Rides the primary keys, jobs_gated, jobs_waiting and gates_wake. One writer at
-- a time, so what is read of a gate holds until the commit.

-- name: insert_gated
insert into {p}jobs (
    id, task, queue, priority, state, args, created_at, run_at, expires_at, attempts_max, policy,
    tags, meta, tenant, cost, tag, gates
) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
on conflict (id) do nothing;

-- name: gate
select name, kind, quota, period, burst, used, full_at, part, shut_until, note, woken, woken_at,
    wake_at, defined_at, is_set, tripped, probe, failed
from {p}gates where name = ?;

-- name: write_gate
insert into {p}gates (
    name, kind, quota, period, burst, used, full_at, part, shut_until, note, woken, woken_at,
    wake_at, defined_at, is_set, tripped, probe, failed, touched_at
) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
on conflict (name) do update set
    kind = excluded.kind, quota = excluded.quota, period = excluded.period,
    burst = excluded.burst, used = excluded.used, full_at = excluded.full_at, part = excluded.part,
    shut_until = excluded.shut_until, note = excluded.note, woken = excluded.woken,
    woken_at = excluded.woken_at, wake_at = excluded.wake_at, defined_at = excluded.defined_at,
    is_set = excluded.is_set, tripped = excluded.tripped, probe = excluded.probe,
    failed = excluded.failed, touched_at = excluded.touched_at;

-- name: any_gated
select 1 from {p}jobs where state = 'ready' and gates is not null limit 1;

-- name: gated_heads
select j.id, j.gates, j.expires_at, j.created_at, j.task, h.priority, h.tag
from ({heads} order by 1 desc, 2, 3 limit :limit) as h join {p}jobs as j on j.id = h.id
order by h.priority desc, h.tag, h.id;

-- name: park
update {p}jobs as p set state = 'blocked', reason = 'gate', waits_at = :at, tag = {turn_at}
where id = :id;

-- name: turn_at
-- The order tag of a job p in the line of those that are parked at a gate.
iif(tenant is null, 0, min(abs({untagged}), max(
    coalesce((
        select j.tag from {p}jobs as j
        where j.state = 'blocked' and j.waits_at = :at and j.priority = p.priority and j.tag > 0
        order by j.tag limit 1
    ), 1),
    coalesce((
        select j.tag from {p}jobs as j
        where j.state = 'blocked' and (j.tag < 0) = 0 and coalesce(j.waits_at, j.queue) = :at
            and j.waits_at is not null and j.tenant = p.tenant and j.priority = p.priority
        order by j.tag desc limit 1
    ) + coalesce((select stride from {p}tenants where name = p.tenant), 1000), 1)
)));

-- name: waits_first
-- A job that waits and was never claimed.
select gates from {p}jobs where id = ? and state = 'blocked' and number = 0;

-- name: replaceable
-- Those that say `"on_full":"replace"`, which is written here as a blob.
select id, gates from {p}jobs
where state = 'blocked' and instr(gates, x'226f6e5f66756c6c223a227265706c61636522') > 0
    and waits_at = ? and number = 0
order by id desc limit ?;

-- name: end_full
update {p}jobs set
    state = 'cancelled', outcome = 'cancelled', reason = :reason, finished_at = :now,
    keep_until = max(:now + 2592000000000, created_at + 3600000000)
where id = :id and state = 'blocked';

-- name: gates_of_ready
select gates from {p}jobs where id = ? and state = 'ready' and gates is not null;

-- name: gates_of_running
select gates from {p}jobs where id = ? and state = 'running' and gates is not null;

-- name: gates_held
select id, number, gates from {p}jobs
where state = 'running' and worker = ? and gates is not null and reason is not 'lost';

-- name: best_waiting
select gates from {p}jobs where state = 'blocked' and waits_at = ?
order by priority desc, tag, id limit 1;

-- name: waiting
select id, gates from {p}jobs where state = 'blocked' and waits_at = ?
order by priority desc, tag, id limit ?;

-- name: wake_parked
update {p}jobs set state = 'ready', reason = null, waits_at = null,
    tag = iif(tenant is null, 0, {untagged})
where id = ? and state = 'blocked';

-- name: move
update {p}jobs as p set waits_at = :at, tag = {turn_at} where id = :id and state = 'blocked';

-- name: gates_to_wake
select name from {p}gates where wake_at <= ? order by wake_at limit ?;

-- name: due_gated
select id, gates from {p}jobs
where state in ('scheduled', 'retrying') and run_at <= ? and gates is not null
order by run_at limit ?;

-- name: make_ready
update {p}jobs set state = 'ready', reason = null
where id = ? and state in ('scheduled', 'retrying');

-- name: let_go
-- Called by: transactional, in the transaction of the task's own writes: `stage` wakes who waits.
update {p}gates set used = max(0, used - 1), wake_at = ? where name = ? and kind = 'places';

-- name: let_through
-- As let_go, for the probe of a breaker, whose task has ended well: the breaker closes.
update {p}gates set tripped = 0, probe = null, failed = '', shut_until = null, note = null,
    wake_at = ?
where name = ? and kind = 'breaker' and probe = ? and (shut_until is null or shut_until <= ?);

-- name: let_off
-- As let_go, for a probe whose breaker was shut meanwhile: that learns nothing of it.
update {p}gates set probe = null, wake_at = coalesce(shut_until, ?) where name = ? and probe = ?;

-- name: probes_lost
select name from {p}gates as g
where probe is not null
    and not exists (select 1 from {p}jobs where id = g.probe and state = 'running');

-- name: running_at
-- Gates that a hand has damaged are none.
select (
    select count(*) from {p}holds where gate = :name and is_held = 1 and kind = 'places'
) + count(*) from {p}jobs as j, json_each(
    case when json_valid(cast(j.gates as text)) then cast(j.gates as text) else '[]' end
) as w
where j.state = 'running' and j.gates is not null
    and case w.type when 'object' then w.value ->> 'name' end = :name;

-- name: drifted
-- Gates whose places in use are not those that running jobs and holds have, and how many these are.
with running as (
    select case w.type when 'object' then w.value ->> 'name' end as name, count(*) as n
    from {p}jobs as j, json_each(
        case when json_valid(cast(j.gates as text)) then cast(j.gates as text) else '[]' end
    ) as w
    where j.state = 'running' and j.gates is not null
    group by 1
), held as (
    select name, sum(n) as n from (
        select name, n from running
        union all
        select gate, count(*) from {p}holds where is_held = 1 and kind = 'places' group by 1
    ) group by 1
)
select g.name, r.n from held as r join {p}gates as g on g.name = r.name
where g.kind = 'places' and g.used <> r.n
union all
select name, 0 from {p}gates
where used > 0 and (
    kind <> 'places' or not exists (select 1 from held as r where r.name = {p}gates.name)
);

-- name: gates_unused
select name from {p}gates as g
where touched_at <= :before and used = 0 and probe is null and full_at <= :now and is_set = 0
    and (shut_until is null or shut_until <= :now)
    and not exists (
        select 1 from {p}jobs where state = 'blocked' and waits_at = g.name
    )
    and not exists (select 1 from {p}holds where gate = g.name)
limit :limit;

-- name: delete_gate
delete from {p}gates where name = ?;

-- name: all_gates
select name, kind, quota, period, burst, used, full_at, part, shut_until, note, woken, woken_at,
    wake_at, defined_at, is_set, tripped, probe, failed,
    (select count(*) from {p}jobs where state = 'blocked' and waits_at = g.name)
from {p}gates as g
where (:only is null or name = :only) and name > :after order by name limit :limit;
