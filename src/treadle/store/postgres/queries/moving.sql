-- Called by: seal, adopt, unseal, drop, while jobs are moved from store to store. Rides the primary
-- keys; rows are locked in the order of their ids. Each is conditional on the state or the seal
-- that it finds, so any number may run at once.

-- name: seal
with held as (
    select id from {p}jobs
    where id = any($1::uuid[]) and (
        state in ('ready', 'scheduled', 'retrying') or (state = 'blocked' and waits_at is not null)
    )
    order by id for update
)
update {p}jobs j set
    -- One that was parked at a gate is ready over there, where it meets its gates anew.
    reason = $2::text || case when state = 'blocked' then 'ready|'
        else state || '|' || coalesce(reason, '') end,
    state = 'blocked', waits_at = null
from held where j.id between held.id and held.id;

-- name: parcels
select {record_row}, cost, parked_at, ran from (
    select id, task, queue, state, priority, attempt, number, args, created_at, run_at,
        attempts_max, forgiven, crashes, policy, started_at, null::bigint as finished_at,
        expires_at, null::bigint as keep_until, worker, null::text as outcome, reason, error,
        null::bytea as result, tags, meta, tenant, progress, key, gates, waits_at, cost, parked_at,
        null::bigint as ran
    from {p}jobs
    where id = any($1::uuid[]) and state = 'blocked' and starts_with(reason, $2::text)
    union all
    select id, task, queue, state, priority, attempt, number, args, created_at, run_at,
        attempts_max, forgiven, crashes, policy, started_at, finished_at, expires_at, keep_until,
        worker, outcome, reason, error, result, tags, meta, tenant, progress, key, gates, waits_at,
        cost, null, ran
    from {p}dead h
    where id = any($1::uuid[])
        and (select true from {p}jobs j where j.id = h.id limit 1) is null
) as r;

-- name: past_attempts
select job, attempt, claim, worker, started_at, finished_at, outcome, error, ran
from {p}attempts where job = any($1::uuid[]) order by job, claim;

-- name: past_logs
select job, attempt, at, level, text from {p}logs where job = any($1::uuid[]) order by job, line;

-- name: sealed_here
select id from {p}jobs
where id = any($1::uuid[]) and state = 'blocked' and starts_with(reason, $2::text);

-- name: adopt_waiting
insert into {p}jobs (
    id, task, queue, priority, state, number, attempt, forgiven, crashes, attempts_max, args,
    policy, created_at, run_at, expires_at, parked_at, reason, error, tags, meta, tenant, cost,
    progress, gates
)
select id, task, queue, priority, 'blocked', number, attempt, forgiven, crashes, attempts_max,
    args, policy, created_at, run_at, expires_at, parked_at, reason, error, tags, meta, tenant,
    cost, progress, gates_text::jsonb
from unnest(
    $1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
    $8::bigint[], $9::bigint[], $10::bytea[], $11::bytea[], $12::bigint[], $13::bigint[],
    $14::bigint[], $15::bigint[], $16::text[], $17::bytea[], $18::bytea[], $19::bytea[],
    $20::text[], $21::bigint[], $22::bytea[], $23::text[]
) as given (
    id, task, queue, priority, number, attempt, forgiven, crashes, attempts_max, args, policy,
    created_at, run_at, expires_at, parked_at, reason, error, tags, meta, tenant, cost, progress,
    gates_text
)
where not exists (select from {p}history h where h.id = given.id)
on conflict (id) do nothing
returning id;

-- name: adopt_dead
with kept as (
    insert into {p}dead (
        id, task, queue, priority, tag, state, number, attempt, forgiven, crashes, attempts_max,
        args, policy, created_at, run_at, expires_at, reason, error, tags, meta, tenant, cost,
        progress, worker, started_at, finished_at, keep_until, outcome, ran, error_type, gates
    )
    select id, task, queue, priority, 0, 'failed', number, attempt, forgiven, crashes, attempts_max,
        args, policy, created_at, run_at, expires_at, reason, error, tags, meta, tenant, cost,
        progress, worker, started_at, finished_at, keep_until, outcome, ran, error_type,
        gates_text::jsonb
    from unnest(
        $1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
        $8::bigint[], $9::bigint[], $10::bytea[], $11::bytea[], $12::bigint[], $13::bigint[],
        $14::bigint[], $15::bigint[], $16::text[], $17::bytea[], $18::bytea[], $19::bytea[],
        $20::text[], $21::bigint[], $22::bytea[], $23::text[], $24::bigint[], $25::bigint[],
        $26::bigint[], $27::text[], $28::bigint[], $29::text[], $30::text[]
    ) as given (
        id, task, queue, priority, number, attempt, forgiven, crashes, attempts_max, args, policy,
        created_at, run_at, expires_at, parked_at, reason, error, tags, meta, tenant, cost,
        progress, worker, started_at, finished_at, keep_until, outcome, ran, error_type, gates_text
    )
    where (select true from {p}jobs j where j.id = given.id limit 1) is null
        and not exists (select from {p}history h where h.id = given.id)
    returning id, queue
), counted as (
    insert into {p}counted (shelf, queue, state, jobs)
    select 'dead', queue, 'failed', count(*) from kept group by queue
)
select id from kept;

-- name: adopt_attempts
insert into {p}attempts (
    job, attempt, claim, worker, started_at, finished_at, outcome, error, ran
)
select * from unnest(
    $1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[], $7::text[],
    $8::bytea[], $9::bigint[]
)
on conflict (job, claim) do nothing;

-- name: adopt_logs
insert into {p}logs (job, line, attempt, at, level, text)
select * from unnest(
    $1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[]
)
on conflict (job, line) do nothing;

-- name: unseal
with held as (
    select id, substr(reason, length($2::text) + 1) as was from {p}jobs
    where id = any($1::uuid[]) and state = 'blocked' and starts_with(reason, $2::text)
    order by id for update
)
update {p}jobs j set
    state = split_part(held.was, '|', 1),
    reason = nullif(substr(held.was, length(split_part(held.was, '|', 1)) + 2), ''),
    tag = {new_turn}
from held where j.id between held.id and held.id
returning j.id;

-- name: drop_sealed
with held as (
    select id from {p}jobs
    where id = any($1::uuid[]) and state = 'blocked' and starts_with(reason, $2::text)
    order by id for update
), gone as (
    delete from {p}jobs j using held where j.id between held.id and held.id returning j.id
), attempts_gone as (
    delete from {p}attempts where job in (select id from gone)
), logs_gone as (
    delete from {p}logs where job in (select id from gone)
)
select id from gone;
